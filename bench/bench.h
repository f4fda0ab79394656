// SPDX-License-Identifier: Apache-2.0
// The benches behind `tessera bench NAME`. Each takes the arguments after NAME (argv[0] is NAME),
// prints a table for people on stderr and one JSON row per measurement on stdout, and returns an
// exit status. Every bench checks its result before it times it.
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#ifdef __cplusplus
extern "C" {
#endif

int bench_ops(int argc, char **argv); // GEMM per level and M, against measured peak and bandwidth
int bench_attention(int argc, char **argv); // paged attention, decode and prefill
int bench_model(int argc, char **argv);     // prefill and decode tokens/s of a model
int bench_media(int argc, char **argv);     // pictures/s of decode + resize + patches, one thread
int bench_serve(int argc, char **argv);     // a load on a server, and the bars about serving
int bench_sched(int argc, char **argv);     // what plan + commit cost
int bench_text(int argc, char **argv);      // tokenizer MB/s, one thread
int bench_roofline(int argc, char **argv);  // predictions for cards, from counted bytes
int bench_gpu(int argc, char **argv);       // an NVIDIA GPU, in builds with CUDA (bench/gpu/)

#ifdef __cplusplus
}
#endif

#endif
