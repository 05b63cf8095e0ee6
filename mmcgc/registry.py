"""Define mmcgc's registries, which are children of MMEngine's.

Models, data sets and the like live under the scope ``mmcgc`` (``type='mmcgc.CIFARResNet'``).  The convolution layers
are in MMEngine's root registry too, where :func:`mmcv.cnn.build_conv_layer` finds them from any scope.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def _child(name: str, *locations: str) -> Registry:
    return Registry(name, parent=getattr(root, name), scope='mmcgc', locations=list(locations))


MODELS = _child('MODELS', 'mmcgc.models')
DATASETS = _child('DATASETS', 'mmcgc.datasets')
TRANSFORMS = _child('TRANSFORMS', 'mmcgc.datasets')
HOOKS = _child('HOOKS', 'mmcgc.engine')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', 'mmcgc.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS', 'mmcgc.engine')
PARAM_SCHEDULERS = _child('PARAM_SCHEDULERS', 'mmcgc.engine')
DATA_SAMPLERS = _child('DATA_SAMPLERS', 'mmcgc.datasets')
METRICS = _child('METRICS', 'mmcgc.evaluation')
TASK_UTILS = _child('TASK_UTILS', 'mmcgc.datasets')
