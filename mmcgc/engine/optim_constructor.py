"""Train networks with gates by TSM's learning rates."""

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

_FIRST_BIAS, _BIAS = 1, 3  # places in mmaction2's list of groups: the first convolution's bias, all other biases


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GatedTSMOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Group parameters as mmaction2's TSMOptimWrapperConstructor does, also if convolutions are gated.

    The linear layers of a gate are treated as any other weight, its norms as any other norm.  mmaction2 leaves out the
    bias of a convolution that has more parameters than weight and bias, as a gated one has; here it joins the other
    biases, with twice the learning rate and no weight decay.

    Raises:
        ValueError: If a trainable parameter would be in no group; mmaction2 would leave it untrained.
    """

    def add_params(self, params: list[dict], model: nn.Module, **kwargs) -> None:
        # The import stands here so that networks for images train without mmaction2.
        from mmaction.engine.optimizers import TSMOptimWrapperConstructor

        TSMOptimWrapperConstructor.add_params(self, params, model, **kwargs)
        grouped = {id(parameter) for group in params for parameter in group['params']}
        convs = [module for module in model.modules() if isinstance(module, _ConvNd)]
        for i, conv in enumerate(convs):
            if conv.bias is not None and id(conv.bias) not in grouped:
                params[_BIAS if i else _FIRST_BIAS]['params'].append(conv.bias)
                grouped.add(id(conv.bias))
        left = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in grouped]
        if left:
            raise ValueError(
                f"TSM's rules give no learning rate to {', '.join(left)}: freeze these parameters, or "
                'drop optim_wrapper.constructor'
            )
