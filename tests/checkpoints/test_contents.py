"""What a hostile file cannot do to memory and to classes, and that a refusal is called one."""

import io
import pickle
import struct
import tarfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmcgc.checkpoints.average import average_checkpoints
from mmcgc.checkpoints.load import class_names

RECONSTRUCT = b'cnumpy._core.multiarray\n_reconstruct\n'
DTYPE = b'cnumpy\ndtype\n'
NDARRAY = b'cnumpy\nndarray\n'
HISTORY = b'cmmengine.logging.history_buffer\nHistoryBuffer\n'


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def raw(value: bytes) -> bytes:
    """Bytes, as protocol 2 has them."""
    return b'c_codecs\nencode\n' + text(value.decode('latin1')) + text('latin1') + b'\x86R'


def dtype(code: str, size: int = -1, alignment: int = -1, order: str = '<') -> bytes:
    state = b'(K\x03' + text(order) + b'NNN' + b'J' + struct.pack('<i', size) + b'J' + struct.pack('<i', alignment)
    return DTYPE + text(code) + b'\x85R' + state + b'K\x00tb'


def array(data: bytes, shape: int, kind: bytes) -> bytes:
    empty = RECONSTRUCT + NDARRAY + b'K\x00\x85' + raw(b'b') + b'\x87R'
    return empty + b'(K\x01J' + struct.pack('<i', shape) + b'\x85' + kind + b'\x89' + raw(data) + b'tb'


def checkpoint(path, value: bytes):
    """A file of torch.save whose ``value`` is what these operations of a pickle build."""
    content = b'\x80\x02}' + text('value') + value + b's.'
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.write_record('data.pkl', content, len(content))
    writer.write_record('byteorder', b'little', 6)
    writer.write_end_of_file()
    return str(path)


LARGER = b'(K\x03' + text('|') + b'NNNJ' + struct.pack('<i', 1 << 20) + b'K\x01K\x00tb'
GROWN = b'(' + dtype('S8') + b'q\x01' + array(bytes(8), 1, b'h\x01') + b'h\x01' + LARGER + b't'
HOSTILE = {
    'a text type that grows after its array': GROWN,
    'a text type of another size': array(bytes(8), 1, dtype('S8', 1 << 20, 1, '|')),
    'an array longer than its data': array(bytes(8), 1 << 20, dtype('f8')),
    'an array of negative length': array(bytes(8), -1, dtype('f8')),
    'an array that is filled twice': array(bytes(8), 1, dtype('f8'))
    + b'(K\x01K\x01\x85'
    + dtype('f8')
    + b'\x89'
    + raw(bytes(8))
    + b'tb',
    'an array of objects': array(bytes(8), 1, dtype('O')),
    'an array of records': array(bytes(8), 1, dtype('i4,i4')),
    'an array of empty texts': array(b'', 1 << 20, dtype('S0')),
    'an array without a type': array(bytes(8), 1, b'N'),
    'a byte order of its own': array(bytes(8), 1, dtype('f8', order='x')),
    'a scalar longer than its data': b'cnumpy._core.multiarray\nscalar\n' + dtype('f8') + raw(b'1') + b'\x86R',
    'a scalar without data': b'cnumpy._core.multiarray\nscalar\n' + dtype('f8') + b'\x85R',
    'a buffer without a state': HISTORY + b')\x81',
    'a buffer that is called': HISTORY + b')R',
    'a buffer with a text for its history': HISTORY
    + b')\x81}('
    + text('max_length')
    + b'K\x05'
    + text('_log_history')
    + text('x')
    + text('_count_history')
    + text('x')
    + b'ub',
    'a schedule with a state': b'cmmengine.optim.scheduler.param_scheduler\nOneCycleParamScheduler\n)\x81}b',
}


@pytest.mark.parametrize('name', HOSTILE)
def test_is_refused(tmp_path, name):
    with pytest.raises(pickle.UnpicklingError, match='refused.*nothing was loaded'):
        CheckpointLoader.load_checkpoint(checkpoint(tmp_path / 'evil.pth', HOSTILE[name]), 'cpu')


def test_memory_that_was_not_set_cannot_be_had(tmp_path):
    """``numpy.ndarray((1000,))`` is whatever the heap holds; a file that calls it gets nothing."""
    path = checkpoint(tmp_path / 'evil.pth', NDARRAY + b'M\xe8\x03\x85\x85R')
    assert CheckpointLoader.load_checkpoint(path, 'cpu')['value'].size == 0


def test_the_same_operations_make_a_good_array(tmp_path):
    path = checkpoint(tmp_path / 'good.pth', array(np.array([1.0, 2.0]).tobytes(), 2, dtype('f8')))
    value = CheckpointLoader.load_checkpoint(path, 'cpu')['value']
    assert type(value) is np.ndarray and value.tolist() == [1.0, 2.0] and value.flags.owndata


def test_a_history_does_not_change_its_class(tmp_path):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    before = dict(HistoryBuffer._statistics_methods)
    try:
        HistoryBuffer._statistics_methods = dict(before, mean=HistoryBuffer.max, stranger=HistoryBuffer.min)
        torch.save(dict(value=history), tmp_path / 'evil.pth')
    finally:
        HistoryBuffer._statistics_methods = before
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'evil.pth'), 'cpu')['value']
    assert type(loaded) is HistoryBuffer and loaded.statistics('mean') == 2
    assert HistoryBuffer._statistics_methods == before and type(loaded.data[0]) is np.ndarray


def test_containers_have_no_attributes_of_their_own(tmp_path):
    odd = OrderedDict(weight=torch.ones(1))
    odd.items, odd._metadata = set, {'': dict(version=2)}
    torch.save(dict(state_dict=odd, deep=[(odd,)]), tmp_path / 'odd.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'odd.pth'), 'cpu')
    assert loaded['deep'][0][0] is loaded['state_dict'] and 'items' not in vars(loaded['state_dict'])
    assert loaded['state_dict']._metadata == {'': dict(version=2)}


@pytest.mark.parametrize('form', ['bare', 'bare-4', 'tar', 'script'])
def test_other_formats_are_refused_and_not_called_truncated(tmp_path, form):
    path = tmp_path / 'old.pth'
    if form == 'tar':
        with tarfile.open(path, 'w') as archive:
            archive.addfile(tarfile.TarInfo('pickle'), io.BytesIO())
    elif form == 'script':
        torch.jit.script(torch.nn.ReLU()).save(str(path))
    else:
        path.write_bytes(pickle.dumps(dict(weight=[1.0]), protocol=2 if form == 'bare' else 4))
    with pytest.raises(pickle.UnpicklingError, match='nothing was loaded') as info:
        CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert 'truncated' not in str(info.value)


def test_a_plain_torch_load_is_as_safe(tmp_path):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(checkpoint(tmp_path / 'evil.pth', GROWN))


@pytest.mark.parametrize(
    'content, message',
    [
        (dict(state_dict=[1]), "its 'state_dict' is a list, expected a dict"),
        (dict(state_dict={3: torch.ones(1)}), 'it holds the key 3, expected names'),
        ({None: torch.ones(1)}, 'it holds the key None, expected names'),
        (dict(state_dict=dict(weight='x')), "it holds no tensor under 'weight'"),
        (dict(meta=[]), "its 'meta' is a list, expected a dict"),
    ],
)
def test_what_has_no_names_or_no_tensors_is_no_checkpoint(tmp_path, content, message):
    torch.save(content, tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match=f'odd.pth is no checkpoint: {message}'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'odd.pth'), 'cpu')


def test_a_module_may_keep_a_state_of_its_own_kind(tmp_path):
    torch.save(dict(state_dict={'quantiser._extra_state': dict(bits=8)}), tmp_path / 'good.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'good.pth'), 'cpu')
    assert loaded['state_dict'] == {'quantiser._extra_state': dict(bits=8)}


def test_what_is_no_tensor_is_not_averaged(tmp_path):
    torch.save(dict(model=dict(weight=torch.ones(1))), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match="other.pth holds 'model', which is no tensor"):
        average_checkpoints([tmp_path / 'other.pth'], tmp_path / 'average.pth')


@pytest.mark.parametrize('classes', [5, 'cat', [1, 2], ['cat', '\x1b[2Jdog'], {'cat': 0}], ids=repr)
def test_names_of_classes_are_printable(classes):
    with pytest.raises(ValueError, match='no list of printable names'):
        class_names({}, dict(dataset_meta=dict(classes=classes)))
    assert class_names({}, dict(dataset_meta=dict(classes=['cat', 'Käfer']))) == ('cat', 'Käfer')
    assert class_names({}, dict(dataset_meta=None)) == class_names({}, {}) == ()


def test_a_file_cannot_name_checkpoints(tmp_path):
    info = dict(best_ckpt='/etc', keep_ckpt_ids=[1], last_ckpt='/etc', best_score=1.0)
    hub = dict(log_scalars={}, runtime_info={**info, 'best_ckpt_acc': '/etc'}, resumed_keys=dict.fromkeys(info, True))
    torch.save(dict(message_hub=hub), tmp_path / 'evil.pth')
    hub = CheckpointLoader.load_checkpoint(str(tmp_path / 'evil.pth'), 'cpu')['message_hub']
    assert hub['runtime_info'] == dict(best_score=1.0) and hub['resumed_keys'] == dict(best_score=True)
