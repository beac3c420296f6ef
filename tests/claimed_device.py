"""Tensors on the CPU that claim to be on a GPU: they count what would wait for it, and raise where devices mix.

`ClaimedDevice` is a mode in which `device=CLAIMED` makes such tensors. They run Python code for a GPU (`is_cuda` is true)
on any machine. Inside they are meta tensors for autograd, as PyTorch's FakeTensor, but with values.
"""

from collections import Counter
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

CLAIMED = torch.device("cuda:0")  # with an index: PyTorch would ask the driver for it
_META = torch.device("meta")
aten = torch.ops.aten

#: Operations whose kernels for a GPU wait for it, since the host needs their result, or an error code.
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive",
    "_linalg_eigh", "linalg_eigh", "_linalg_svd", "linalg_svd", "linalg_inv_ex", "linalg_eig", "_linalg_solve_ex",
    "is_nonzero", "item", "allclose", "bincount",
}  # fmt: skip
#: Operations that take indices from the CPU, which are then copied to the device.
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class Claimed(Tensor):
    """A tensor on the CPU, `inner`, that claims to be on `CLAIMED`."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Claimed":
        options = {"dtype": inner.dtype, "device": _META, "strides": inner.stride(), "layout": inner.layout}
        wrapper = Tensor._make_wrapper_subclass(
            cls, inner.size(), storage_offset=inner.storage_offset(), requires_grad=inner.requires_grad, **options
        )
        wrapper.inner = inner.detach()
        return wrapper

    device = property(lambda self: CLAIMED)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)

    def __repr__(self) -> str:
        return f"Claimed({self.inner!r})"

    def __tensor_flatten__(self) -> Any:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, *_: Any) -> "Claimed":
        return Claimed(inner["inner"])

    def tolist(self) -> Any:
        ClaimedDevice.current.count("tolist")
        return self.inner.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a CUDA tensor to NumPy; use Tensor.cpu() first")  # as torch does

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if ClaimedDevice.current is None:
            raise AssertionError("a tensor of the claimed device is used outside its mode")
        return ClaimedDevice.current.run(func, args, kwargs or {})


class ClaimedGenerator(torch.Generator):
    """A generator of the CPU that claims the device."""

    device = property(lambda self: CLAIMED)


class ClaimedDevice(TorchDispatchMode):
    """The mode: `waits` counts by operation what the host waits for: results, and copies unless they are `non_blocking`."""

    current: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __enter__(self) -> "ClaimedDevice":
        self.patches = ExitStack()
        # A build without CUDA refuses the name of the device before it is asked to do anything.
        self.patches.enter_context(patch("torch.cuda._lazy_init", lambda: None))
        generator = torch.Generator
        self.patches.enter_context(
            patch("torch.Generator", lambda device="cpu": (ClaimedGenerator if _claims(device) else generator)())
        )
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # as FakeTensorMode: or torch.tensor(..., device=...) passes us by
        self.patches.callback(torch._C._set_only_lift_cpu_tensors, before)
        ClaimedDevice.current = self
        self.patches.callback(setattr, ClaimedDevice, "current", None)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.patches.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def count(self, name: str) -> None:
        self.waits[name] += 1

    def claim(self, module: nn.Module) -> nn.Module:
        """The module with its weights and buffers on the device, in place."""
        for one in module.modules():
            for name, weight in one._parameters.items():
                if weight is not None:
                    one._parameters[name] = nn.Parameter(Claimed(weight.detach()), weight.requires_grad)
            for name, buffer in one._buffers.items():
                one._buffers[name] = None if buffer is None else Claimed(buffer)
        return module

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = func.overloadpacket.__name__
        flat = tree_flatten((args, kwargs))[0]
        claimed = [one for one in flat if isinstance(one, Claimed)]
        to = kwargs.get("device")
        if name in ("_to_copy", "copy_", "_copy_from", "lift_fresh"):
            return self._copy(func, name, args, kwargs, to)
        if claimed:
            self._check(name, flat, args)
            if to is not None and not _claims(to):
                raise AssertionError(f"{name} makes a tensor on {to} of one on {CLAIMED}")
        wrap = bool(claimed) or (to is not None and _claims(to))
        result = func(*_inner(args), **{**_inner(kwargs), **({} if to is None else {"device": torch.device("cpu")})})
        if not wrap:
            return result
        wrapped = tree_map_only(Tensor, Claimed, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if claimed else wrapped

    def _check(self, name: str, flat: list[Any], args: Any) -> None:
        others = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, Claimed) and one.ndim]
        if name in INDEXING and isinstance(args[0], Claimed):
            indices = [one for one in args[1] if one is not None]
            if any(one.dtype == torch.bool for one in indices):
                self.count("index by bool")
            self.waits["index from cpu"] += sum(not isinstance(one, Claimed) for one in indices)
            others = [one for one in others if not any(one is index for index in indices)]
        if others:
            raise RuntimeError(f"{name}: a tensor on cpu of shape {tuple(others[0].shape)} meets one on {CLAIMED}")
        if name in WAITING or (name == "repeat_interleave" and len(args) < 3):
            self.count(name)

    def _copy(self, func: Any, name: str, args: Any, kwargs: Any, to: Any) -> Any:
        if name == "copy_":
            target, source = args[:2]
            if isinstance(source, Claimed) and not isinstance(target, Claimed):
                self.count("copy_ to cpu")
            elif isinstance(target, Claimed) and not isinstance(source, Claimed) and source.ndim:
                self.count("copy_ to the device")
            func(*_inner(args), **_inner(kwargs))
            return target
        was = isinstance(args[0], Claimed)
        claims = was if to is None else _claims(to)
        if was and not claims:
            self.count("to cpu")
        elif claims and not was and not kwargs.get("non_blocking"):
            self.count("to the device")
        options = _inner(kwargs) | ({} if to is None else {"device": torch.device("cpu")})
        result = func(*_inner(args), **options)
        return Claimed(result) if claims else result


def _claims(device: Any) -> bool:
    return torch.device(device).type in (CLAIMED.type, _META.type)


def _inner(tree: Any) -> Any:
    return tree_map_only(Claimed, lambda one: one.inner, tree)
