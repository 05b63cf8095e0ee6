"""Let modules be imported from their old places, which gives the modules at the new places and a warning."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

MOVED = {
    'analysis.benchmark': 'analysis.speed.benchmark',
    'analysis.benchmark_picture': 'analysis.speed.plot_benchmark',
    'analysis.cam_sheet': 'analysis.pictures.show_grad_cam',
    'analysis.class_kernels': 'analysis.pictures.class_kernels',
    'analysis.class_kernels_picture': 'analysis.pictures.class_kernels_picture',
    'analysis.compare_curves': 'analysis.pictures.plot_curves',
    'analysis.comparison': 'analysis.compare',
    'analysis.complexity': 'analysis.counting.get_complexity',
    'analysis.figures': 'analysis.pictures.figures',
    'analysis.gate_analysis': 'analysis.pictures.analyze_gates',
    'analysis.gate_history': 'analysis.pictures.plot_gate_history',
    'analysis.gate_view': 'analysis.pictures.show_gates',
    'analysis.gated_layers': 'analysis.pictures.gated_layers',
    'analysis.grad_cam': 'analysis.pictures.grad_cam',
    'analysis.kernels_history': 'analysis.pictures.plot_kernels_history',
    'analysis.paper': 'analysis.counting.paper',
    'analysis.paper_rule': 'analysis.counting.paper_rule',
    'analysis.paper_tables': 'analysis.counting.paper_tables',
    'analysis.peak_memory': 'analysis.speed.peak_memory',
    'analysis.rivals': 'analysis.speed.rivals',
    'analysis.samples': 'analysis.pictures.samples',
    'analysis.translation_speed': 'analysis.speed.benchmark_translation',
    'analysis.video_loading': 'analysis.speed.benchmark_video_loading',
    'checkpoint_contents': 'checkpoints.contents',
    'checkpoint_guard': 'checkpoints.guard',
    'engine.average': 'checkpoints.average',
    'engine.checkpoint_layouts': 'checkpoints.layouts',
    'engine.checkpoint_record': 'checkpoints.record',
    'engine.convert_checkpoint': 'checkpoints.convert',
    'engine.demo': 'apis.demo_video',
    'engine.distributed': 'apis.distributed',
    'engine.initial_weights': 'apis.initial_weights',
    'engine.launch': 'apis.launch',
    'engine.load_weights': 'checkpoints.load',
    'engine.run_queue': 'apis.run_queue',
    'engine.stop': 'apis.stop',
    'engine.translate': 'apis.translate',
    'layers.pooling': 'ops.context.pooling',
    'ops.functional': 'ops.conv.functional',
    'ops.gate_statistics': 'ops.gate_moments',
    'ops.light_conv': 'ops.band_conv',
    'ops.operators': 'ops.conv.operators',
    'ops.portable': 'ops.conv.portable',
    'ops.reference': 'ops.conv.reference',
    'ops.tiled': 'ops.conv.tiled',
    'ops.triton_axes': 'ops.conv.triton_axes',
    'ops.triton_context': 'ops.context.triton_context',
    'ops.triton_context_kernels': 'ops.context.triton_context_kernels',
    'ops.triton_conv': 'ops.conv.triton_conv',
    'ops.triton_kernels': 'ops.conv.triton_kernels',
    'ops.triton_pool': 'ops.context.triton_pool',
    'ops.triton_tiles': 'ops.conv.triton_tiles',
    'ops.views': 'ops.conv.views',
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A finder of modules by old names, which loads those at the new places; these keep their own names and specs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.removeprefix('mmcgc.') not in MOVED or not fullname.startswith('mmcgc.'):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        place = f'mmcgc.{MOVED[spec.name.removeprefix("mmcgc.")]}'
        warnings.warn(
            f'{spec.name} has moved to {place}; the old name will be removed in version 0.2', DeprecationWarning, 6
        )
        module = importlib.import_module(place)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # the import system has set the spec of the old name


def install() -> None:
    """Let the old names be imported; it is safe to call this more than once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
