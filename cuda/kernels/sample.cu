// SPDX-License-Identifier: Apache-2.0
// sample: the order and the rules of cpu/sample_ref.c, on the device; what differs is that nothing
// is ranked that cannot be drawn. The uniform number of a draw comes from the host's Philox, with
// the settings of all rows that the step uploads.
//
//   (linear)        suppression; maximum and sums of every chunk of 32 logits (logit_scan.cuh)
//   sample_penalty  only where a row has one: over its history, in place (sample_penalty.cuh)
//   sample_allow    only where a row has a set of allowed tokens (sample_allow.cuh)
//   sample_rank     a row a block: a prefix of its ranking and the draw (sample_rank.cuh)
//   sample_sort     only for a row whose prefix did not fit or did not decide: ranks everything
//
// All of it is only queued: the results stay on the device, where the next step finds its tokens.
// Only the histories of rows with a penalty and sets of allowed tokens are uploaded here. Rows that
// do not fit the memory of one launch come in several; then the host may have to wait for a half of
// the staging memory.
//
// Tiles: a row a block of 512, with 33 KB of shared memory for the prefix. Bytes: 12 a chunk, its
// maximum up to five times; of logits only the chunks that reach into the prefix, twice. A set of
// allowed tokens is an eighth of a byte a token; of logits the chunks that lose one, once.
// Operations: 2 exponentials a chunk; doubles for the sums of chunks and along the prefix.
// promise: spills 0, calls 0
#include "base/check.h"
#include "base/num.h"
#include "cuda/context.h"
#include "cuda/kernels/sample_allow.cuh"
#include "cuda/kernels/sample_penalty.cuh"
#include "cuda/kernels/sample_rank.cuh"

enum {
    RANK_SHARED_BYTES = RANK_MAX * sizeof(uint64_t) + SAMPLE_THREADS / 32 * sizeof(double),
    SORT_SHARED_BYTES = SAMPLE_THREADS / 32 * sizeof(double),
    AREA_ALIGN = 256,
};

// Where things lie in one launch's memory: what is uploaded comes first and lies the same way in
// the staging memory.
typedef struct SampleArea {
    size_t history_first, history, allowed_at, allowed, uploaded; // offsets
    size_t penalized, undecided, keys, bytes;
} SampleArea;

static size_t area_take(size_t *used, size_t bytes) {
    size_t at = *used;
    *used += num_round_up(bytes, AREA_ALIGN);
    return at;
}

static uint32_t sorted_of(const OpSample *op) {
    uint32_t size = 1;
    while (size < op->vocab_count) {
        size *= 2;
    }
    return size;
}

// What the rows of one launch bring with them.
typedef struct SampleLoad {
    size_t history; // tokens of all that have a penalty
    size_t sets;    // of allowed tokens
} SampleLoad;

static SampleArea area_of(const OpSample *op, size_t count, const SampleLoad *load) {
    SampleArea a = {};
    size_t words = load->sets * batch_token_words(op->vocab_count);
    size_t used = 0;
    a.history_first = area_take(&used, (count + 1) * sizeof(uint32_t));
    a.history = area_take(&used, load->history * sizeof(int32_t));
    a.allowed_at = area_take(&used, count * sizeof(uint32_t));
    a.allowed = area_take(&used, words * sizeof(uint32_t));
    a.uploaded = used;
    a.penalized = area_take(&used, load->history * sizeof(float));
    a.undecided = area_take(&used, count * sizeof(uint32_t));
    a.keys = area_take(&used, sorted_of(op) * sizeof(uint64_t));
    a.bytes = used;
    return a;
}

static uint32_t history_of(const BatchSequence *sequence) {
    return sequence->sampling.repetition_penalty == 1.0f ? 0 : sample_history_count(sequence);
}

static void pack_history(const BatchSequence *sequence, uint32_t length, int32_t *to) {
    uint32_t known = length < sequence->history_count ? length : sequence->history_count;
    if (known > 0) {
        memcpy(to, sequence->history, known * sizeof *to);
    }
    if (length > known) {
        to[known] = batch_token_drawn(sequence->history_drawn - 1);
    }
}

// As many rows from `first` on as the memory takes.
static uint32_t rows_that_fit(const OpSample *op, uint32_t first, SampleLoad *load) {
    uint32_t count = 0;
    *load = {};
    while (first + count < op->count) {
        const BatchSequence *sequence = op->sequences[first + count];
        SampleLoad more = {load->history + history_of(sequence),
                           load->sets + (sequence->allowed != NULL)};
        SampleArea a = area_of(op, count + 1, &more);
        if (a.bytes > CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES || a.uploaded > CUDA_STAGING_HALF) {
            break;
        }
        *load = more;
        count++;
    }
    REQUIRE_MESSAGE(count > 0, "no room to sample one row of %u logits", op->vocab_count);
    return count;
}

static void pack_histories(const OpSample *op, uint32_t first, uint32_t count,
                           const SampleArea *area, unsigned char *staging) {
    uint32_t *history_first = (uint32_t *)(staging + area->history_first);
    int32_t *history = (int32_t *)(staging + area->history);
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        const BatchSequence *sequence = op->sequences[first + i];
        uint32_t length = history_of(sequence);
        history_first[i] = used;
        pack_history(sequence, length, history + used);
        used += length;
    }
    history_first[count] = used;
}

static void pack_sets(const OpSample *op, uint32_t first, uint32_t count, const SampleArea *area,
                      unsigned char *staging) {
    uint32_t *at = (uint32_t *)(staging + area->allowed_at);
    uint32_t *to = (uint32_t *)(staging + area->allowed);
    uint32_t words = batch_token_words(op->vocab_count), sets = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *allowed = op->sequences[first + i]->allowed;
        at[i] = allowed == NULL ? NO_SET : sets++;
        if (allowed != NULL) {
            memcpy(to, allowed, words * sizeof *to);
            to += words;
        }
    }
}

static SampleArgs sample_args(const CudaContext *cuda, const OpSample *op, uint32_t first,
                              uint32_t count, const SampleArea *area) {
    unsigned char *base = cuda->scratch;
    SampleArgs args = {};
    args.logits = op->logits + (size_t)first * op->vocab_count;
    args.vocab = op->vocab_count;
    args.chunks = logit_chunks(op->vocab_count);
    args.settings = op->settings + first;
    args.history_first = (const uint32_t *)(base + area->history_first);
    args.history = (const int32_t *)(base + area->history);
    args.drawn_before = op->drawn_before;
    args.penalized = (float *)(base + area->penalized);
    args.allowed_at = (const uint32_t *)(base + area->allowed_at);
    args.allowed = (const uint32_t *)(base + area->allowed);
    args.scan = op->scan;
    args.scan.inverse_temperature += first;
    args.scan.chunks += (size_t)first * LOGIT_SUM_COUNT * args.chunks;
    args.out = op->out + first;
    args.drawn = op->drawn + first;
    args.undecided = (uint32_t *)(base + area->undecided);
    args.count = count;
    args.keys = (uint64_t *)(base + area->keys);
    args.sorted = sorted_of(op);
    return args;
}

static cudaError_t run_kernels(const CudaContext *cuda, const SampleArgs &args,
                               const SampleLoad *load) {
    cudaError_t status = cudaSuccess;
    if (load->history > 0) {
        status = LAUNCH(sample_penalty, dim3(args.count), SAMPLE_THREADS, 0, cuda->stream, args);
    }
    if (status == cudaSuccess && load->sets > 0) {
        status = LAUNCH(sample_allow, dim3(args.count, ALLOW_SLICES), SAMPLE_THREADS, 0,
                        cuda->stream, args);
    }
    if (status == cudaSuccess) {
        status = LAUNCH(sample_rank, dim3(args.count), SAMPLE_THREADS, RANK_SHARED_BYTES,
                        cuda->stream, args);
    }
    if (status == cudaSuccess) {
        status =
            LAUNCH(sample_sort, dim3(1), SAMPLE_THREADS, SORT_SHARED_BYTES, cuda->stream, args);
    }
    return status;
}

// Histories and sets of a launch to its memory, by way of a half of the staging memory.
static cudaError_t upload_load(CudaContext *cuda, const OpSample *op, uint32_t first,
                               uint32_t count, const SampleArea *area) {
    unsigned char *half;
    cudaError_t status = cuda_staging_take(cuda, &half);
    if (status == cudaSuccess) {
        pack_histories(op, first, count, area, half);
        pack_sets(op, first, count, area, half);
        status = cudaMemcpyAsync(cuda->scratch, half, area->uploaded, cudaMemcpyHostToDevice,
                                 cuda->stream);
    }
    return status == cudaSuccess ? cuda_staging_sent(cuda) : status;
}

Status cuda_sample(void *context, const OpSample *op) {
    CudaContext *cuda = (CudaContext *)context;
    uint32_t first = 0;
    REQUIRE_MESSAGE(op->scan.chunks != NULL, "logits of %u rows that were not scanned", op->count);
    while (first < op->count && cuda->failed == OK) {
        SampleLoad load;
        uint32_t count = rows_that_fit(op, first, &load);
        SampleArea area = area_of(op, count, &load);
        cudaError_t status = cudaSuccess;
        if (load.history > 0 || load.sets > 0) {
            status = upload_load(cuda, op, first, count, &area);
        }
        if (status == cudaSuccess) {
            SampleArgs args = sample_args(cuda, op, first, count, &area);
            status = run_kernels(cuda, args, &load);
        }
        TRY(cuda_launched(cuda, "sample", status));
        first += count;
    }
    return cuda->failed;
}
