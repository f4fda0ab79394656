// SPDX-License-Identifier: Apache-2.0
// The op table and the device table: all that a backend implements, and all of a backend that the
// model sees. cpu/ is one implementation, cuda/ is another. The model (forward.c) is written once
// over these structs.
//
// Conventions. Rows are tokens, row major, f32 unless said. All pointers are device memory except
// those marked "host". Ops run in call order on one stream; a backend may return before the work is
// done and report its failure at the next wait. Every op checks nothing the engine has
// promised (shapes, ranges), and returns a Status for what only it can know (device faults).
// Results of a row never depend on which other rows share the call: accumulation over k runs in a
// fixed order, so a request gets the same tokens alone and in a crowd.
#ifndef MODEL_OPS_H
#define MODEL_OPS_H

#include "base/prng.h"
#include "base/status.h"
#include "scheduler/batch.h"
#include "weights/weights.h"

#include <stddef.h>

// What a linear reads. The kind is chosen per projection (docs/numerics.md): f32 for truth, bf16
// for W16A16 and W4A16, int8 (symmetric, one scale per row, absmax / 127, round to nearest even)
// for W8A8 and W4A8. int8x2 is the same with 16319 for 127, each value split into 128 high + low:
// two int8 rows, which a linear multiplies as such; out = (128 high + low) of the two sums.
typedef enum ActivationKind {
    ACTIVATION_F32,
    ACTIVATION_BF16,
    ACTIVATION_INT8,
    ACTIVATION_INT8X2,
    ACTIVATION_KIND_COUNT
} ActivationKind;

enum { ACTIVATION_COLUMN_ALIGN = 128 }; // stride; columns beyond the matrix's are zero

static inline bool activation_is_integer(ActivationKind kind) {
    return kind == ACTIVATION_INT8 || kind == ACTIVATION_INT8X2;
}

// Bytes of one value, all its parts.
static inline size_t activation_value_bytes(ActivationKind kind) {
    static const size_t bytes[ACTIVATION_KIND_COUNT] = {4, 2, 1, 2};
    return bytes[kind];
}

// Rows of `values` that make one row.
static inline uint32_t activation_parts(ActivationKind kind) {
    return kind == ACTIVATION_INT8X2 ? 2 : 1;
}

typedef struct Activation {
    ActivationKind kind;
    uint32_t columns; // valid ones
    uint32_t stride;  // columns rounded up to ACTIVATION_COLUMN_ALIGN
    void *values;     // [rows][parts][stride] of f32, bf16 or int8
    float *scales;    // [rows], int8 and int8x2 only: x = value * scale
    // [rows][parts][stride / 32], as scales: sum of 32 values, for offset codes
    int32_t *block_sums;
} Activation;

// KV cache of one layer: `pages` is an array of pages of `page_bytes`, whose inside is the
// backend's own business. int8 values have one f32 scale per token, head and side: absmax / 127 of
// the head, rounded to nearest even, as activations. Before that rope_append turns q and k of the
// layer by the same Hadamard matrix (kv_rotation), which spreads a large channel over all of them
// and leaves q . k as it was.
// Where the value is the key, a backend may keep of the key only what RoPE turns, since the rest is
// k_norm times the value; its rope_append then multiplies q by k_norm there, which leaves q . k as
// it was too. cuda/ does so (cuda/kv_layout.cuh).
typedef enum KvKind { KV_F32, KV_BF16, KV_INT8, KV_KIND_COUNT } KvKind;

// Order of the Hadamard matrix: a head is turned in consecutive blocks of this many values, the
// largest power of two that divides it. Sylvester's matrix H(i, j) = (-1)^popcount(i & j) over the
// root of its order.
static inline uint32_t kv_rotation(uint32_t head_dim) {
    return head_dim & (~head_dim + 1);
}

typedef struct KvLayer {
    KvKind kind;
    LayerShape shape;
    size_t page_bytes; // device->kv_page_bytes(kind, shape): what KV_PAGE_TOKENS tokens take
    void *pages;       // [page_count][page_bytes]
} KvLayer;

// Where the rows of a step live in the cache: a device copy of the arrays of Batch.
typedef struct PagedRows {
    uint32_t row_count;
    const uint32_t *positions;    // [rows]
    const uint32_t *sliding_end;  // [rows]
    const uint32_t *row_sequence; // [rows]
    uint32_t sequence_count;
    const BatchSequence *sequences;
    const uint32_t *pages[PAGE_KIND_COUNT];
    uint32_t kv_length_max; // the host's copy: it sizes the work
} PagedRows;

typedef struct OpCopyPages {
    const KvLayer *layers; // host array of all layers of the kind
    uint32_t layer_count;
    uint32_t count;
    const uint32_t *from, *to; // host [count]
} OpCopyPages;

typedef struct OpEmbed {
    uint32_t row_count;
    const int32_t *tokens; // [rows]; BATCH_TOKEN_MEDIA: leave the row alone
    // Tokens that the step before draws: a drawn token of `tokens` (batch_token_drawn) is an index
    // into them. A row whose token there is negative is left alone too.
    const int32_t *drawn;
    Matrix table; // [vocab][hidden]
    float scale;
    float *out; // [rows][hidden]
} OpEmbed;

// What a token of OpEmbed is once it is drawn; negative: none.
static inline int32_t embed_token(int32_t token, const int32_t *drawn) {
    return batch_token_is_drawn(token) ? drawn[batch_drawn_index(token)] : token;
}

// model.md 3.1: LN1 -> dense + bias -> LN2 -> + (P[x,0] + P[y,1]) -> LN3 -> rms -> projection.
// Pixels enter as u8 / 255. LayerNorm eps is 1e-5.
typedef struct OpPatchEmbed {
    uint32_t patch_count;
    const uint8_t *pixels;     // [patches][patch_values] u8
    const uint16_t *positions; // [patches][2] column, row
    const uint32_t *out_rows;  // [patches] row of `out` for each patch
    const VisionWeights *weights;
    const Gemma4Config *config;
    Activation normed;   // scratch [patches][patch_values]
    float *dense;        // scratch [patches][vision_hidden]
    Activation finished; // scratch [patches][vision_hidden]
    float *out;          // [rows][hidden], no embed_scale
} OpPatchEmbed;

typedef struct OpRopeTable {
    uint32_t row_count;
    const uint32_t *positions;      // [rows]
    uint32_t pair_count;            // head_dim / 2
    const float *inverse_frequency; // [pairs] f32, zeros for pairs that do not turn
    float *cosine, *sine; // [rows][pairs]: cos and sin of (float)position * inverse_frequency
} OpRopeTable;

typedef struct OpNorm {
    uint32_t row_count;
    const uint32_t *rows; // [row_count] gather of input rows, or NULL for 0, 1, 2, ...
    const float *in;      // [..][columns]
    uint32_t columns;
    const float *weight; // [columns], or NULL for 1
    float eps;
    Activation out; // [row_count]
} OpNorm;

// Of a row of logits in chunks of 32: the maximum of every chunk, and the sums of exp(x - maximum)
// as it is and at the row's temperature. Suppressed logits count as -inf and are left so; NaN
// counts as -inf, +inf as the largest float. A chunk of -inf has sums of 0.
enum { LOGIT_CHUNK = 32 };

typedef enum LogitSum { LOGIT_MAXIMA, LOGIT_MASS, LOGIT_TEMPERED_MASS, LOGIT_SUM_COUNT } LogitSum;

typedef struct LogitScan {
    const uint32_t *suppressed;       // [chunks] bit i: logit 32 chunk + i
    const float *inverse_temperature; // [rows] 1 / temperature, or 1 where that is 0
    float *chunks;                    // [rows][LOGIT_SUM_COUNT][chunks]
} LogitScan;

static inline uint32_t logit_chunks(uint32_t vocab_count) {
    return vocab_count / LOGIT_CHUNK + (vocab_count % LOGIT_CHUNK != 0);
}

typedef enum LinearEpilogue {
    LINEAR_PLAIN,
    LINEAR_GELU_MUL, // panels alternate gate and up: out = gelu_tanh(gate) * up, half as many
                     // columns
} LinearEpilogue;

typedef struct OpLinear {
    uint32_t row_count;
    Activation in; // [rows][weight.columns]
    Matrix weight;
    LinearEpilogue epilogue;
    const float *bias;        // [out columns] or NULL
    float softcap;            // cap: out becomes cap * tanh(out / cap); 0 = none. Not with GELU_MUL
    const uint32_t *out_rows; // [rows] row of `out` of each, or NULL for 0, 1, 2, ...
    float *out;               // [rows][out_stride]
    uint32_t out_stride;      // at least the out columns
    uint32_t out_columns;     // weight.rows, or for GELU_MUL the intermediate size
    LogitScan scan; // of the rows of `in`, where the device scans; chunks NULL: none. Not with
                    // GELU_MUL, nor with int4 weights
} OpLinear;

// qkv rows [rows][qkv_stride]: q heads, k heads, v heads. q becomes rope(rms(q) * q_norm) in place;
// k = rope(rms(k) * k_norm) and v = rms(v) (v = rms(raw k) when value_is_key) go to the cache. With
// a cache of int8 both q and k are turned by the Hadamard matrix of KvKind after RoPE. What is left
// in q is for this backend's attention only.
typedef struct OpRopeAppend {
    float *qkv;
    uint32_t qkv_stride;
    const float *q_norm, *k_norm; // [head_dim]
    float eps;
    const float *cosine, *sine; // [rows][head_dim / 2]
    KvLayer cache;
    PagedRows rows;
} OpRopeAppend;

// o = softmax(q . k) v over the row's range, scale 1.0, fp32 softmax.
typedef struct OpAttention {
    const float *q; // [rows][q_stride], heads side by side
    uint32_t q_stride;
    KvLayer cache;
    PagedRows rows;
    uint32_t window; // sliding layers only
    float *scratch;  // [rows][heads * head_dim]
    Activation out;  // [rows][heads * head_dim]
} OpAttention;

typedef struct OpActivate {
    uint32_t row_count;
    const float *in; // [rows][in_stride]
    uint32_t in_stride;
    Activation out;
} OpActivate;

typedef struct OpResidualNorm {
    uint32_t row_count;
    uint32_t columns;
    float *h;               // [rows][columns] residual stream, updated
    const float *x;         // [rows][columns] branch output
    const float *post_norm; // [columns]
    float scalar;           // layer_scalar after the MLP, 1 after attention
    const float *next_norm; // [columns], or NULL: h only
    float eps;
    Activation out;
} OpResidualNorm;

// What one draw asks for, as a device reads it: the Sampling of a sequence and the uniform number
// of its next token.
typedef struct SampleSettings {
    double uniform;
    float temperature, top_p, min_p, penalty;
    uint32_t top_k, logprobs;
} SampleSettings;

static inline SampleSettings sample_settings(const BatchSequence *sequence) {
    const Sampling *s = &sequence->sampling;
    SampleSettings settings = {prng_uniform(s->seed, 0, sequence->draw),
                               s->temperature,
                               s->top_p,
                               s->min_p,
                               s->repetition_penalty,
                               s->top_k,
                               s->logprobs};
    return settings;
}

// A row of which nothing is left to draw becomes token -1.
typedef struct OpSample {
    uint32_t count;
    const BatchSequence *const *sequences; // host [count]
    const SampleSettings *settings;        // [count] of the same, for a device that is not the host
    const int32_t *drawn_before;           // by the step before: BatchSequence.history_drawn
    float *logits;                         // [count][vocab], destroyed
    uint32_t vocab_count;
    const int32_t *suppress_ids; // host
    uint32_t suppress_count;
    StepSample *out; // [count]; not the tags, and nothing beyond top_count
    int32_t *drawn;  // [count] the token of each once more, where later steps look for it
    LogitScan scan;  // of `logits`, which linear has suppressed then; chunks NULL: none
} OpSample;

// The history of a sequence as the penalty counts it: a host array and perhaps one token more.
static inline uint32_t sample_history_count(const BatchSequence *sequence) {
    return sequence->history_count + (sequence->history_drawn != 0);
}

// Member i of it; `drawn_before` where the caller can read it.
static inline int32_t sample_history_token(const BatchSequence *sequence,
                                           const int32_t *drawn_before, uint32_t i) {
    return i < sequence->history_count ? sequence->history[i]
                                       : drawn_before[sequence->history_drawn - 1];
}

typedef struct OpTable {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a type
#define OP(name, arguments, text) Status (*name)(void *context, const arguments *op);
#include "model/ops.def"
#undef OP
} OpTable;

// Steps recorded once and replayed. Between begin and end ops are recorded, not run; a recording
// has every argument of its ops baked in, so what changes from step to step must lie in device
// memory.
typedef struct GraphTable {
    bool (*has)(void *context, uint64_t key);
    Status (*begin)(void *context);
    Status (*end)(void *context, uint64_t key); // after a begin, also when an op refused
    Status (*launch)(void *context, uint64_t key);
    void (*forget)(void *context); // all recordings, before what they point to is given back
} GraphTable;

enum { DEVICE_MARKS = 2 };

typedef struct DeviceTable {
    const char *name; // "cpu avx512-vnni-bf16", "cuda sm_89 NVIDIA GeForce RTX 4090"
    bool overlaps;    // ops return before their work is done
    bool scans;       // linear leaves a LogitScan where it is asked for one, and sample wants it
    // Zeroed device memory, 64-byte aligned at least; NULL when there is none left.
    void *(*take)(void *context, size_t bytes);
    void (*give)(void *context, void *memory);
    // Host memory, zeroed and as aligned. Copies from and to it only queue up, as ops do, and it is
    // read and written when their turn comes; a copy of other host memory is done
    // with it on return, and may keep the host waiting for all ops before it.
    void *(*take_host)(void *context, size_t bytes);
    void (*give_host)(void *context, void *memory);
    Status (*upload)(void *context, void *to, const void *host_from, size_t bytes);
    Status (*download)(void *context, void *host_to, const void *from, size_t bytes);
    Status (*wait)(void *context, Error *error); // all ops so far are done; their first failure
    // Sets one of DEVICE_MARKS behind all ops so far; `reach` waits for those alone.
    Status (*mark)(void *context, uint32_t mark);
    Status (*reach)(void *context, uint32_t mark);
    size_t (*kv_page_bytes)(KvKind kind, const LayerShape *shape);
    // Weights of about so many bytes will be placed next; a device that takes memory in large
    // pieces takes it once. NULL: it makes no difference.
    void (*expect_weights)(void *context, uint64_t bytes);
    // Weights to the device: returns a Matrix whose pointers are device memory. The cpu backend
    // hands back what it got. Freed with the backend.
    Status (*place_matrix)(void *context, const Matrix *host, Matrix *out);
    Status (*place_floats)(void *context, const float *host, size_t count, const float **out);
    uint64_t (*memory_bytes)(void *context); // free now, for the memory plan; 0 = unknown
    const GraphTable *graphs;                // NULL: none
} DeviceTable;

typedef struct Backend {
    const OpTable *ops;
    const DeviceTable *device;
    void *context;
    void (*close)(void *context);
} Backend;

#endif
