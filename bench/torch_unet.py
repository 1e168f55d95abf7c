"""The U-Net of src/network/unet.ts in PyTorch 2.x, as a peer to measure against.

A server on its standard input: each line is a JSON request, each answered by one line of JSON, so that a program can
alternate between peers. Weights come from a safetensors file under the names that the library gives them, the
network's shape from "config" in the file's metadata. The first request of a kind warms up before it is timed.

  {"op": "forward", "batch": 16, "setting": {...}}     -> {"ms": 12.3}
  {"op": "train", "batch": 32, "setting": {...}}       -> {"ms": 234.5}
  {"op": "values", "input": "in.safetensors"}          -> {"values": [...]}
  {"op": "losses", "input": "in.safetensors", "steps": 10, "rate": 1e-3, "clip": 1} -> {"losses": [...]}
  {"op": "matmul", "size": 2048, "by": "torch"}        -> {"ms": 56.7}, or null where "onnxruntime" is not installed
  {"op": "rss"}                                        -> {"bytes": peak since the last "reset"}
  {"op": "reset"}                                      -> {}

A setting is {"compile": false, "channels_last": false, "freezing": false, "adam": "foreach", "threads": 2}, each with
the default given. An error is answered by {"error": "..."}.

Run: python bench/torch_unet.py weights.safetensors
"""

import json
import math
import os
import re
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

THREADS = os.cpu_count() or 1
DTYPES = {"F32": np.float32, "I32": np.int32}


def read_safetensors(path):
    """The tensors and the metadata of a safetensors file."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.pop("__metadata__", {})

    def tensor(entry):
        first, end = entry["data_offsets"]
        values = np.frombuffer(body[first:end], DTYPES[entry["dtype"]])
        return torch.from_numpy(values.reshape(entry["shape"]).copy())

    return {name: tensor(entry) for name, entry in header.items()}, metadata


class UNet(torch.nn.Module):
    """Images [N, C, H, W], times [N] and class numbers [N] (the last number for none) to [N, C, H, W]."""

    def __init__(self, config, weights):
        super().__init__()
        self.config = {
            "channels": 1, "patch": 1, "base": 32, "multipliers": [1, 2, 2], "blocks": 2,
            "attention": [], "middleAttention": True, "groups": 8, "classes": 0, **config,
        }  # fmt: skip
        # A parameter's name may have no dots; filters go from HWIO to OIHW.
        for name, value in weights.items():
            value = value.permute(3, 2, 0, 1).contiguous() if value.ndim == 4 else value
            self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(value))
        half = self.config["base"] // 2
        rates = torch.tensor([10000 ** (-i / half) for i in range(half)], dtype=torch.float64)
        self.register_buffer("rates", rates)

    def of(self, *name):
        return getattr(self, "_".join(name).replace(".", "_"))

    def dense(self, name, x):
        return torch.addmm(self.of(name, "bias"), x, self.of(name, "weight"))

    def conv(self, name, x, stride=1):
        """TensorFlow's "same" padding: where the total is odd, the extra zeros go after."""
        weight, bias = self.of(name, "weight"), self.of(name, "bias")
        size = weight.shape[-1]
        needs = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[2:]]
        if any(need % 2 for need in needs):
            (height, width) = needs
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            return F.conv2d(x, weight, bias, stride)
        return F.conv2d(x, weight, bias, stride, [need // 2 for need in needs])

    def norm(self, name, x):
        groups = self.config["groups"]
        return F.group_norm(x, groups, self.of(name, "weight"), self.of(name, "bias"), 1e-5)

    def residual(self, name, x, e):
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)))
        h = h + self.dense(f"{name}.time", e)[:, :, None, None]
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h)))
        skip = hasattr(self, f"{name}.skip.weight".replace(".", "_"))
        return (self.conv(f"{name}.skip", x) if skip else x) + h

    def attention(self, name, x):
        joint = self.conv(f"{name}.qkv", self.norm(f"{name}.norm", x))
        q, k, v = (part.flatten(2).transpose(1, 2) for part in joint.chunk(3, 1))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.conv(f"{name}.proj", mixed)

    def block(self, name, level, x, e):
        h = self.residual(name, x, e)
        return self.attention(f"{name}.attention", h) if level in self.config["attention"] else h

    def embedded(self, times, labels):
        angles = times.double()[:, None] * self.rates
        features = torch.cat([angles.sin(), angles.cos()], 1).float()
        e = self.dense("time.1", F.silu(self.dense("time.0", features)))
        if self.config["classes"] > 0:
            e = e + F.embedding(labels, self.of("class", "weight"))
        return F.silu(e)

    def forward(self, x, times, labels):
        levels, blocks = len(self.config["multipliers"]), self.config["blocks"]
        e, h = self.embedded(times, labels), self.conv("in", patched(x, self.config["patch"]))
        skips = [h]
        for level in range(levels):
            for i in range(blocks):
                h = self.block(f"down.{level}.{i}", level, h, e)
                skips.append(h)
            if level < levels - 1:
                h = self.conv(f"down.{level}.halve", h, 2)
                skips.append(h)
        h = self.residual("middle.0", h, e)
        if self.config["middleAttention"]:
            h = self.residual("middle.1", self.attention("middle.attention", h), e)
        for level in reversed(range(levels)):
            for i in range(blocks + 1):
                h = self.block(f"up.{level}.{i}", level, torch.cat([h, skips.pop()], 1), e)
            if level > 0:
                h = self.conv(f"up.{level}.double", F.interpolate(h, scale_factor=2))
        return unpatched(self.conv("out.conv", F.silu(self.norm("out.norm", h))), self.config["patch"])


def patched(x, size):
    """Blocks of pixels made into channels: rows of a block first, then columns, then channels."""
    if size == 1:
        return x
    n, channels, height, width = x.shape
    split = x.reshape(n, channels, height // size, size, width // size, size)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // size, width // size)


def unpatched(x, size):
    """The inverse of patched."""
    if size == 1:
        return x
    n, _, height, width = x.shape
    split = x.reshape(n, size, size, -1, height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * size, width * size)


class Training:
    """A model in training: whole steps of loss, gradient, clipping, Adam and moving average."""

    def __init__(self, model, setting, rate=1e-3, clip=1.0, decay=0.999):
        self.model, self.clip, self.decay, self.step_number = model, clip, decay, 0
        self.params = list(model.parameters())
        self.average = [param.detach().clone() for param in self.params]
        kind = setting.get("adam", "foreach")
        fused, foreach = kind == "fused", kind == "foreach"
        self.adam = torch.optim.Adam(self.params, lr=rate, fused=fused, foreach=foreach)
        self.loss = lambda x, times, labels, target: F.mse_loss(model(x, times, labels), target)
        if setting.get("compile"):
            self.loss = torch.compile(self.loss)

    def step(self, x, times, labels, target):
        self.step_number += 1
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(x, times, labels, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, self.clip, foreach=True)
        self.adam.step()
        kept = min(self.decay, (1 + self.step_number) / (10 + self.step_number))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.params], 1 - kept)
        return loss.item()


class Server:
    """Answers requests; keeps a compiled model or a training run for each setting that it has seen."""

    def __init__(self, path):
        self.weights, metadata = read_safetensors(path)
        self.config, self.ready = json.loads(metadata["config"]), {}

    def answer(self, request):
        torch.set_num_threads(request.get("setting", {}).get("threads", THREADS))
        return getattr(self, f"op_{request['op']}")(request)

    def model(self, setting={}):
        model = UNet(self.config, self.weights)
        return model.to(memory_format=torch.channels_last) if setting.get("channels_last") else model

    def inputs(self, batch, setting):
        size, channels = self.config["size"], self.config.get("channels", 1)
        generator = torch.Generator().manual_seed(batch)
        x, target = torch.randn(2, batch, channels, *size, generator=generator)
        if setting.get("channels_last"):
            x = x.contiguous(memory_format=torch.channels_last)
        times = (torch.arange(batch) * 37 % 1000).double()
        return x, times, torch.arange(batch) % max(1, self.config.get("classes", 0)), target

    def remembered(self, request, make):
        """The function that a request times, made and warmed up at its first sight."""
        key = json.dumps(request, sort_keys=True)
        if key not in self.ready:
            run = self.ready[key] = make(request["batch"], request.get("setting", {}))
            for _ in range(3):
                run()
        return self.ready[key]

    def op_forward(self, request):
        return {"ms": milliseconds(self.remembered(request, self.make_forward))}

    def op_train(self, request):
        return {"ms": milliseconds(self.remembered(request, self.make_training))}

    def make_forward(self, batch, setting):
        model, (x, times, labels, _) = self.model(setting).eval(), self.inputs(batch, setting)
        if setting.get("compile"):
            import torch._inductor.config as inductor

            frozen = bool(setting.get("freezing"))
            model = torch.compile(model, options={"freezing": frozen}, dynamic=False)
            with inductor.patch(freezing=frozen), torch.no_grad():
                model(x, times, labels)  # freezing asks for no_grad; inference_mode does the rest

        def run():
            with torch.no_grad() if setting.get("compile") else torch.inference_mode():
                return model(x, times, labels)

        return run

    def make_training(self, batch, setting):
        training, inputs = Training(self.model(setting), setting), self.inputs(batch, setting)
        return lambda: training.step(*inputs)

    def op_values(self, request):
        x, times, labels, _ = self.given(request["input"])
        with torch.inference_mode():
            y = self.model(request.get("setting", {})).eval()(x, times, labels)
        return {"values": y.permute(0, 2, 3, 1).flatten().tolist()}

    def op_losses(self, request):
        setting = request.get("setting", {})
        training = Training(self.model(setting), setting, request["rate"], request["clip"])
        inputs = self.given(request["input"])
        return {"losses": [training.step(*inputs) for _ in range(request["steps"])]}

    def given(self, path):
        """Inputs from a file: x and target NHWC, times, labels."""
        found, _ = read_safetensors(path)
        x, target = (found[name].permute(0, 3, 1, 2).contiguous() for name in ("x", "target"))
        return x, found["times"], found["labels"].long(), target

    def op_matmul(self, request):
        try:
            return {"ms": milliseconds(self.remembered({**request, "batch": 0}, lambda *_: product(request)))}
        except ModuleNotFoundError:
            return None

    def op_rss(self, _):
        with open("/proc/self/status") as status:
            return {"bytes": 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read())[1])}

    def op_reset(self, _):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return {}

    def op_about(self, _):
        parameters = sum(math.prod(value.shape) for value in self.weights.values())
        return {"version": torch.__version__, "parameters": parameters}


def product(request):
    """A large float32 matrix product, in PyTorch or in ONNX Runtime."""
    size, threads = request["size"], request.get("setting", {}).get("threads", THREADS)
    a, b = torch.randn(2, size, size, generator=torch.Generator().manual_seed(0))
    if request["by"] == "torch":
        return lambda: a @ b
    import onnxruntime
    from onnx import TensorProto, helper

    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size])
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", [value("a"), value("b")], [value("c")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    feeds = {"a": a.numpy(), "b": b.numpy()}
    return lambda: session.run(None, feeds)


def milliseconds(run):
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a compiler prints must not be taken for an answer
    server = Server(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:  # the asker decides what a missing compiler means
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
