"""Up to four nodes from Slurm, one label at a time on each core.

Change partition, account and the lines that make Python with eqmm available on a node. Everything
about the provider: https://parsl.readthedocs.io/en/stable/userguide/configuration/index.html
"""

from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="labels",
            cores_per_worker=1,
            max_workers_per_node=64,
            provider=SlurmProvider(
                partition="compute",
                account="my_account",
                walltime="12:00:00",
                nodes_per_block=1,
                init_blocks=1,
                min_blocks=0,
                max_blocks=4,
                worker_init="source ~/eqmm/bin/activate",
                launcher=SrunLauncher(),
            ),
        )
    ],
)
