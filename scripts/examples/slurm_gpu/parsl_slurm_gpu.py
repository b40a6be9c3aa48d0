"""Up to two nodes of four GPUs from Slurm, one label at a time on each GPU.

Change partition, account and the lines that make Python with eqmm available on a node. Parsl shows
each worker one device (`available_accelerators`), in the variable CUDA_VISIBLE_DEVICES.
"""

from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="labels",
            available_accelerators=4,
            max_workers_per_node=4,
            provider=SlurmProvider(
                partition="gpu",
                account="my_account",
                scheduler_options="#SBATCH --gpus-per-node=4",
                walltime="12:00:00",
                nodes_per_block=1,
                init_blocks=1,
                min_blocks=0,
                max_blocks=2,
                worker_init="source ~/eqmm/bin/activate",
                launcher=SrunLauncher(),
            ),
        )
    ],
)
