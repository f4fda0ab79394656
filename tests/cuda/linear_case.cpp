// SPDX-License-Identifier: Apache-2.0
#include "cuda/linear_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

const char *linear_shape_name(const LinearShape *s) {
    static char text[160];
    snprintf(text, sizeof text, "level %s, activation %d, group %u, [%u][%u], m %u, epilogue %d",
             weight_level_name(s->level), s->kind, s->group, s->rows, s->columns, s->m,
             s->epilogue);
    return text;
}

LinearCase linear_case_open(LinearShape shape) {
    LinearCase c = {};
    c.shape = shape;
    uint32_t rows =
        shape.epilogue == LINEAR_GELU_MUL ? 2 * matrix_padded_rows(shape.rows) : shape.rows;
    c.weight = matrix_random(shape.level, rows, shape.columns, shape.group, 77);
    c.in = activation_random(shape.kind, shape.m, shape.columns, 78);
    c.bias = floats_random(shape.rows, 79);
    c.op.row_count = shape.m;
    c.op.in = c.in;
    c.op.weight = c.weight;
    c.op.epilogue = shape.epilogue;
    c.op.bias = shape.bias ? c.bias : NULL;
    c.op.out_stride = shape.rows + 3;
    c.op.out_columns = shape.rows;
    return c;
}

void linear_case_close(LinearCase *c) {
    matrix_free(&c->weight);
    activation_free(&c->in);
    free(c->bias);
}

std::vector<float> linear_case_reference(const LinearCase *c) {
    std::vector<float> out((size_t)c->shape.m * c->op.out_stride, LINEAR_GUARD);
    OpLinear op = c->op;
    op.out = out.data();
    cr_assert_eq(linear_ref(NULL, &op), OK);
    return out;
}

static double input_size(const Activation *in, uint32_t m, uint32_t k) {
    if (in->kind == ACTIVATION_F32) {
        return fabs((double)activation_f32(in, m)[k]);
    }
    if (in->kind == ACTIVATION_BF16) {
        return fabs((double)bf16_to_f32(activation_bf16(in, m)[k]));
    }
    return fabs((double)activation_integer(in, m, k) * (double)in->scales[m]);
}

static double dot_tolerance(const LinearCase *c, uint32_t m, uint32_t row) {
    double size = 0.0;
    for (uint32_t k = 0; k < c->shape.columns; k++) {
        size += input_size(&c->in, m, k) * fabs((double)matrix_value(&c->weight, row, k));
    }
    return (8.0 + 2.0 * sqrt((double)c->shape.columns)) * 0x1p-24 * size;
}

double linear_case_tolerance(const LinearCase *c, uint32_t token, uint32_t column) {
    if (c->shape.epilogue == LINEAR_PLAIN) {
        return dot_tolerance(c, token, column) + 1e-6;
    }
    // gelu' <= 1.13 and |gelu(x)| <= |x|: each factor's error times the other's size, which is at
    // most the sum of its products' sizes, 2^24 / 8 tolerances.
    uint32_t gate = column / 16 * 32 + column % 16;
    double first = dot_tolerance(c, token, gate), second = dot_tolerance(c, token, gate + 16);
    double per_error = (8.0 + 2.0 * sqrt((double)c->shape.columns)) * 0x1p-24;
    return 1.13 * first * second / per_error + first * second / per_error + 1e-6;
}

void linear_case_assert(const LinearCase *c, const std::vector<float> &got) {
    std::vector<float> wanted = linear_case_reference(c);
    for (uint32_t m = 0; m < c->shape.m; m++) {
        for (uint32_t j = 0; j < c->op.out_stride; j++) {
            size_t at = (size_t)m * c->op.out_stride + j;
            double allowed = j < c->shape.rows ? linear_case_tolerance(c, m, j) : 0.0;
            double error = fabs((double)got[at] - (double)wanted[at]);
            cr_assert(error <= allowed, "%s: (%u, %u) is %.9g, the reference says %.9g, off by %g",
                      linear_shape_name(&c->shape), m, j, (double)got[at], (double)wanted[at],
                      error);
        }
    }
}

static void *to_device(const void *host, size_t bytes, std::vector<void *> *memory) {
    void *device = NULL;
    cr_assert_eq(cudaMalloc(&device, bytes), cudaSuccess);
    memory->push_back(device);
    if (host != NULL) {
        cr_assert_eq(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, NULL),
                     cudaSuccess);
    }
    return device;
}

Matrix matrix_on_device(const Matrix *host, std::vector<void *> *memory) {
    std::vector<unsigned char> image(cuda_weight_bytes(host));
    Matrix placed = cuda_weight_placed(host, image.data());
    cuda_weight_permute(host, 0, cuda_weight_panels(host), (unsigned char *)placed.codes,
                        (unsigned char *)placed.scales);
    return cuda_weight_placed(host, to_device(image.data(), image.size(), memory));
}

Activation activation_on_device(const Activation *host, uint32_t m, std::vector<void *> *memory) {
    Activation out = *host;
    size_t row_bytes = host->stride * activation_value_bytes(host->kind);
    out.values = to_device(host->values, m * row_bytes, memory);
    if (activation_is_integer(host->kind)) {
        out.scales = (float *)to_device(host->scales, m * sizeof(float), memory);
        out.block_sums = NULL;
    }
    return out;
}

LinearOnDevice linear_on_device(const LinearCase *c) {
    LinearOnDevice d = {};
    d.op = c->op;
    d.op.weight = matrix_on_device(&c->weight, &d.memory);
    d.op.in = activation_on_device(&c->in, c->shape.m, &d.memory);
    if (c->op.bias != NULL) {
        d.op.bias = (float *)to_device(c->bias, c->shape.rows * sizeof(float), &d.memory);
    }
    d.out_count = (size_t)c->shape.m * c->op.out_stride;
    d.op.out = (float *)to_device(NULL, d.out_count * sizeof(float), &d.memory);
    linear_clear(&d);
    return d;
}

void linear_off_device(LinearOnDevice *d) {
    for (void *memory : d->memory) {
        cudaFree(memory);
    }
    d->memory.clear();
}

void linear_clear(const LinearOnDevice *d) {
    std::vector<float> guard(d->out_count, LINEAR_GUARD);
    cudaMemcpyAsync(d->op.out, guard.data(), d->out_count * sizeof(float), cudaMemcpyHostToDevice,
                    NULL);
    cudaDeviceSynchronize();
}

std::vector<float> linear_result(const LinearOnDevice *d) {
    std::vector<float> out(d->out_count);
    cudaDeviceSynchronize();
    cudaMemcpyAsync(out.data(), d->op.out, d->out_count * sizeof(float), cudaMemcpyDeviceToHost,
                    NULL);
    cudaDeviceSynchronize();
    return out;
}
