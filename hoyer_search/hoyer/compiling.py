"""When kernels of torch.compile are worth their making."""

# Measured on ResNet-50 (benchmarks/regularizer.py): eager Hoyer-Square takes 3.3 ns a weight,
# compiled 1.9; the kernels take from 15 seconds to two minutes to make on a busy machine.
SECONDS_SAVED = 1.4e-9
LONGEST_COMPILATION = 120.0


def worth_compiling(num_weights: int, num_steps: int) -> bool:
    """Returns whether compiled kernels save more time than they take to make, in any case.

    On ResNet-50 that is so from about 3,400 steps on, for LeNets never.

    Args:
        num_weights: Regularized weights of the network.
        num_steps: Steps of the training with the regularizer.
    """
    return num_weights * num_steps * SECONDS_SAVED > LONGEST_COMPILATION
