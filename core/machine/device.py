"""The device that renders: set up once per process, before TensorFlow starts to compute.

On a CPU, each process computes in one thread. Several such processes are faster than one process with several threads,
and sums are always taken in the same order, so pixels do not depend on the number of cores. With GPUs, each process
claims one GPU, sees only that one, and allocates memory as it needs it. docs/gpu.md says what has been run on a GPU.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.metadata import version
from itertools import count, takewhile
from pathlib import Path
from typing import BinaryIO

from core.machine.environment import temporary_files
from core.machine.loading import quick_loading

VERBOSE = "ISTHMUS_VERBOSE"
"""Name of the environment variable that shows the messages of TensorFlow and Prefect."""
_DEVICE_FILES = Path("/dev")
_CARDS = Path("/proc/driver/nvidia/gpus")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_WITHOUT_KERAS = {"TF_USE_LEGACY_KERAS": "1", "KERAS_HOME": os.devnull}
"""The environment in which TensorFlow loads without Keras, which takes a seventh of the time.

TensorFlow imports Keras's optimizers when it is loaded. With TF_USE_LEGACY_KERAS it looks for the optimizers of the
older Keras instead, and does without them if the older Keras is not installed. A copy of Keras in TensorFlow, which is
not used, reads the user's keras.json, and a wrong value there would end the import.
"""
_CUDA_FOLDER = "--xla_gpu_cuda_data_dir="
_REMOVED = (
    *("TF_XLA_FLAGS", "TF_FUNCTION_JIT_COMPILE_DEFAULT", "TF_JIT_COMPILE_REWRITE"),  # XLA is a setting of the spec
    *("TF_ENABLE_AUTO_MIXED_PRECISION", "NVIDIA_TF32_OVERRIDE"),  # so is the precision
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "TF_SET_ONEDNN_FPMATH_MODE"),
    *("TF2_BEHAVIOR", "TF_ENABLE_CONTROL_FLOW_V2"),  # TensorFlow 1
    *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR"),  # the size of a batch is found from the memory in use
    *("ONEDNN_VERBOSE", "DNNL_VERBOSE"),  # lines on standard output, which may have to be JSON
)
"""Environment variables that TensorFlow must not see, with the reasons; docs/environment.md explains them."""


def gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; this does not load TensorFlow.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: the first name that is not the name of a GPU ends the list, so that
    "-1", "none" and "NoDevFiles" mean no GPU. Names count only on a machine that has GPUs.
    """
    cards = len(list(_DEVICE_FILES.glob("nvidia[0-9]*")))
    # CUDA numbers the GPUs that it sees from 0; in a container the device files may have other numbers.
    names = os.environ.get(_VISIBLE, ",".join(map(str, range(cards)))).split(",")
    return list(dict.fromkeys(takewhile(lambda name: _is_a_gpu(name, cards), map(str.strip, names))))


def _is_a_gpu(name: str, cards: int) -> bool:
    """Return whether a name in CUDA_VISIBLE_DEVICES can be that of a GPU: a number, or a UUID, which is not checked."""
    if name.isascii() and name.isdigit():
        return int(name) < cards
    return cards > 0 and name.startswith(("GPU-", "MIG-"))


def claim_gpu(available: Sequence[str], folder: Path | None = None) -> BinaryIO | None:
    """Make this process see one GPU only: the first of those that the fewest other processes have claimed.

    A claim is a lock, so it ends with the process, even if the process is killed. The process that replaces a killed
    one then claims the same GPU.

    Args:
        available: names of GPUs; if it is empty, nothing is claimed.
        folder: folder of the locks; must be the same for all processes of a machine.

    Returns:
        the lock, which must stay open as long as the GPU is used; None without GPUs.
    """
    folder = folder or temporary_files() / f"isthmus-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True, parents=True)
    for turn in count() if available else ():
        for name in available:
            lock = (folder / f"{name.replace('/', '-')}.{turn}").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
            else:
                os.environ[_VISIBLE] = name
                return lock
    return None


def has_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU in this process."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def memory_used() -> float:
    """Return the peak of the GPU memory in use since the last call, as a share of what this process can have.

    On a CPU this is always 0.
    """
    if not has_gpu():
        return 0.0
    import tensorflow as tf

    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return float(peak) / _memory_limit()


@lru_cache(maxsize=1)
def _memory_limit() -> int:
    """Return how many bytes of the GPU TensorFlow may allocate."""
    from tensorflow.python.client import device_lib  # no public API has it

    return max(int(found.memory_limit) for found in device_lib.list_local_devices() if found.device_type == "GPU")


@lru_cache(maxsize=1)
def load() -> None:
    """Import TensorFlow, which starts no thread and looks for no device, so that the process can still be forked.

    TensorFlow's own messages are hidden unless the environment has ISTHMUS_VERBOSE. Environment variables that would
    change pixels or break rendering are removed for this process and for those that it starts, because TensorFlow reads
    some of them late.

    Raises:
        SpecError: if there is no folder for temporary files, which TensorFlow looks for when it is loaded.
    """
    _remove_variables()
    temporary_files()
    with nullcontext() if os.environ.get(VERBOSE) else _silence(), environment(_WITHOUT_KERAS), quick_loading():
        import tensorflow as tf

    if not os.environ.get(VERBOSE):
        tf.get_logger().setLevel(logging.ERROR)  # it warns of every renderer after the fourth, because each is traced


@lru_cache(maxsize=1)
def prepare() -> str:
    """Set up TensorFlow in this process, after `load`, and return the name of the device that it renders on.

    Raises:
        SpecError: as `load` does.
    """
    load()
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)  # TF32 only inside `tensor_float_32`
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.experimental.set_memory_growth(gpus[0], True)
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return _cpu()


@contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 for products and convolutions on a GPU inside the block; then restore the earlier setting.

    TensorFlow has one switch for the whole process, which it reads whenever it computes.
    """
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(allowed)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def expected() -> str:
    """Return the name of the device that this machine should render on; this does not load TensorFlow."""
    if not gpus():
        return _cpu()
    facts = [line for card in sorted(_CARDS.glob("*/information")) for line in card.read_text("utf-8").splitlines()]
    return next((fact.partition(":")[2].strip() for fact in facts if fact.startswith("Model:")), "GPU")


def is_gpu(name: str) -> bool:
    """Return whether a name that `prepare` or `expected` returned, perhaps on another machine, is that of a GPU."""
    return not name.startswith("CPU")


def _cpu() -> str:
    return f"CPU {platform.machine()}"


def versions() -> dict[str, str]:
    """Return the versions of the packages that pixels may depend on."""
    return {name: version(name) for name in ("isthmus", "tensorflow", "numpy")}


def _remove_variables() -> None:
    """Remove the variables that TensorFlow must not see; of XLA_FLAGS keep the folder of CUDA, which pixels ignore."""
    for name in _REMOVED:
        os.environ.pop(name, None)
    if "XLA_FLAGS" in os.environ:
        kept = [flag for flag in os.environ["XLA_FLAGS"].split() if flag.startswith(_CUDA_FOLDER)]
        os.environ["XLA_FLAGS"] = " ".join(kept)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process inside the block; then restore the earlier values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _silence() -> Iterator[None]:
    """Redirect standard error to the null device: TensorFlow's libraries write to it while they load, in any case."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
