"""The commands of the pages, with what stands for their placeholders, what shortens them, and what they make."""

import re

from test_docs import PAGES, commands

# Spans of text that are commands: with arguments, and without a pattern or an ellipsis.
SPAN = re.compile(r'`((?:\w+=\S+ )*(?:python|tools/\w+\.sh)\s[^`]*\s[^`*]*)(?<!\.\.\.)`')


def commands_of(page: str) -> list[str]:
    prose = re.sub(r'^```.*?^```$', '', PAGES[page], flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r'\s+', ' ', command) for command in [*commands(page), *SPAN.findall(prose)]]


COMMANDS = list(
    dict.fromkeys(
        command
        for page in PAGES
        for command in commands_of(page)
        if not command.startswith(('pip install ', 'mim ', 'sphinx-build '))
    )
)  # test_docs.py looks at those

MULTI30K = 'work_dirs/cgc-lightconv_1xt4k-1k_multi30k-de-en'
CONFIGS = {  # what CONFIG stands for; the first pattern counts
    'translat': 'configs/translation/multi30k/cgc-lightconv_1xt4k-1k_multi30k-de-en.py',
    'demo_video': 'configs/quickstart/tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py',
    '': 'configs/quickstart/cgc-resnet20_1xb32-10e_digits.py',
}
REPLACED = {  # what stands for something else on the pages, and what is not at hand
    r'/usr/bin/time -v ': '',
    r'--device cuda': '--device cpu',
    r' --cuda-graphs': '',
    r'(compare\.py .*--seeds 0) 1( 2)?': r'\1',
    r' --draw-only': '',  # the runs may be absent
    r'(python -m pytest .*test_triton_)': r'TRITON_INTERPRET=1 \1',
    r'(NNODES=.* )MASTER_ADDR=\S+ (.*) 8\b': r'\1MASTER_ADDR=127.0.0.1 \2 1',
    r'(dist_\w+\.sh .*) (8|N)\b': r'\1 2',
    r'\b(MASTER_)?PORT=\d+ ': '',  # a free one is given
    r'(average_checkpoints\.py) WORK_DIR': rf'\1 {MULTI30K}',
    r'\bAVERAGE\b': f'{MULTI30K}/average.pth',
    r'\bVIDEO\b': 'video.mp4',
    r'(prepare_sthv1.*) FOLDER\b': r'\1 FRAMES',
}

PHASES = ('train', 'val', 'test')
FEW = ' '.join(f'{phase}_dataloader.dataset.indices={{0}}' for phase in PHASES).format
OPTIONS = {  # few samples, small networks, no download: options of the configs, by a part of their path
    'configs/|my_config': ' '.join(f'{phase}_dataloader.num_workers=0' for phase in PHASES),
    r'resnet20\S+_digits': FEW(40),
    'moving-digits': ' '.join(f'{phase}_dataloader.dataset.num_clips=16' for phase in PHASES),
    'resnet110': 'model.backbone.depth=8',
    r'imagenet/|my_config': f'{FEW(2)} train_dataloader.batch_size=1',
    r'resnet50_1xb64\S+_imagenette': FEW(2),
    'sthv1': f'{FEW(2)} train_dataloader.batch_size=1 model.backbone.pretrained=None',
    r'tsm\S*_(imagenet|r18_)': 'model.backbone.pretrained2d=False',
    'p3d': 'test_dataloader.dataset.pipeline.0.num_clips=1',
    'translation/|number-words': 'train_cfg.max_iters=10 train_cfg.val_interval=10 model.search.beam=1 '
    'default_hooks.checkpoint.interval=1 default_hooks.checkpoint.save_optimizer=False',
}
FROM_CONFIGS = object()

SHORT = {  # what is appended to a command; the first pattern counts, and a command without one fails
    r'(train|test)\.(py|sh)|tools/compare|demo_video': FROM_CONFIGS,
    r'analyze_gates|plot_kernels_history|show_(gates|grad_cam)': FROM_CONFIGS,
    'kill_and_resume': '--kills 2 --cfg-options model.backbone.depth=8',
    '-m pytest': '-n 0 --collect-only',  # the tests cannot run themselves
    'make_camera_motion': '--train-clips 8 --val-clips 8',
    'prepare_imagenette': '--partial',
    r'prepare_iwslt14\.py .*--tokenised': '--out data/tokenised',  # other words than the raw text, which is in use
    'prepare_(cifar10|sthv1|iwslt14)': '',
    r'average_checkpoints|convert_checkpoint|translate\.py': '',
    'benchmark_gpu': 'cpu',
    'benchmark_translation': '--sentences 2 --repeats 1 --beam 1 --length 3',
    'benchmark_video_loading': '--clips 2 --repeats 2',
    r'benchmark\.py configs/(classification|quickstart)': '--batch 1 --repeats 1 --shape 64',
    r'benchmark\.py configs/action/p3d': '--batch 1 --repeats 1 --shape 32 32 32',
    r'benchmark\.py configs/action': '--batch 1 --repeats 1 --shape 8 32 32',
    r'benchmark\.py configs/translation': '--batch 2 --repeats 1 --shape 9',
    'check_networks': '--source torchvision squeezenet1_1',  # the others may not be installed
    'get_complexity|paper_tables|plot_(benchmark|curves|gate_history)': '',
}

OUTPUTS = {  # what a command makes; the first pattern counts
    r'--(?:work-dir|out|csv) (\S+)': r'\1',
    r'slurm_train\.sh \S+ \S+ \S+ (\S+)': r'\1',
    r'train\.(?:py|sh) (?:\S*/)?([\w-]+)\.py': r'work_dirs/\1',
    r'convert_checkpoint\.py \S+ (\S+)': r'\1',
    r'average_checkpoints\.py (\S+)': r'\1/average.pth',
    r'data/prepare_(\w+)': r'data/\1',
}


def first_match(table: dict, command: str):
    """Return (value, match) of the first pattern that a command has, and (None, None) if it has none."""
    found = ((value, re.search(pattern, command)) for pattern, value in table.items())
    return next((pair for pair in found if pair[1]), (None, None))


def output(command: str) -> str | None:
    template, match = first_match(OUTPUTS, command)
    return match.expand(template) if match else None


def resolve(command: str) -> str:
    """With files and folders in the place of CONFIG and the like, but for CHECKPOINT."""
    for pattern, text in {**REPLACED, r'\bCONFIG\b': first_match(CONFIGS, command)[0]}.items():
        command = re.sub(pattern, text, command)
    return command


RESOLVED = [resolve(command) for command in COMMANDS]


def last_epoch(work_dir: str) -> int:
    """The last epoch whose checkpoint a command reads."""
    return max([1, *(int(n) for command in COMMANDS for n in re.findall(rf'{work_dir}/epoch_(\d+)\.pth', command))])


def shortened(command: str) -> str:
    addition, match = first_match(SHORT, command)
    assert match, f'nothing says how to run {command!r} in short'
    if addition is not FROM_CONFIGS:
        return f'{command} {addition}'
    options = [text for pattern, text in OPTIONS.items() if re.search(pattern, command)]
    if re.search('train|compare', match[0]) and 'max_iters' not in ' '.join(options):
        options.append(f'train_cfg.max_epochs={last_epoch(output(command))}')
    return f'{command} --cfg-options {" ".join(options)}'
