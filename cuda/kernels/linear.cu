// SPDX-License-Identifier: Apache-2.0
// linear: which kernel, with which arguments.
#include "base/check.h"
#include "cuda/kernels/linear_library.h"
#include "cuda/ktable.h"

LinearArgs linear_args(const OpLinear *op) {
    LinearArgs args = {};
    args.weight = weight_view(&op->weight);
    args.x = op->in.values;
    args.row_scales = op->in.scales;
    args.pairs = op->in.kind == ACTIVATION_INT8X2;
    args.kind = args.pairs ? ACTIVATION_INT8 : op->in.kind;
    args.rows = op->row_count * activation_parts(op->in.kind);
    args.stride = op->in.stride;
    args.out_rows = op->out_rows;
    args.out = op->out;
    args.out_stride = op->out_stride;
    args.out_columns = op->out_columns;
    args.bias = op->bias;
    args.gelu = op->epilogue == LINEAR_GELU_MUL;
    args.softcap = op->softcap;
    args.scan = op->scan;
    return args;
}

Status cuda_linear(void *context, const OpLinear *op) {
    CudaContext *cuda = (CudaContext *)context;
    if (op->row_count == 0 || cuda->failed != OK) {
        return cuda->failed;
    }
    REQUIRE_MESSAGE(op->scan.chunks == NULL || op->weight.level != LEVEL_INT4,
                    "a scan of int4 weights, whose kernels make none");
    LinearArgs args = linear_args(op);
    if (linear_library_takes(cuda, &op->weight)) {
        return linear_library_run(cuda, &args);
    }
    KernelKey key = ktable_key(&args, cuda->compute);
    const LinearVariant *variant = ktable_choose(cuda->kernels, &key);
    return cuda_launched(cuda, variant->name, variant->launch(cuda, &args));
}
