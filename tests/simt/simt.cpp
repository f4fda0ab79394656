// SPDX-License-Identifier: Apache-2.0
// Running a launch: blocks one after another, the threads of a block as fibers that take turns. A
// thread runs until it must meet others; when nobody can run and not all have ended, that is a
// deadlock with a name.
#include "tests/simt/simt.h"

#include "tests/simt/fiber.h"
#include "tests/simt/shadow.h"
#include "tests/simt/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <deque>
#include <numeric>

enum { THREADS_MAX = 1024, BARRIERS = 16, SHARED_DEFAULT = 101376 };

SimtIndex simt_index;
SimtOptions simt_options;
DeviceMemory simt_memory;
static std::string fault_text;
static SimtReport report;
static SharedShadow shadow;
static AccessProfile profile;

enum ThreadState { READY, AT_BARRIER, AT_WARP_OP, ENDED };

struct PendingCopy {
    void *shared;
    unsigned char data[16];
};

struct Thread {
    ThreadState state;
    SimtSite site; // where it waits
    int barrier;
    uint32_t block_epoch;
    std::vector<PendingCopy> uncommitted;
    std::deque<std::vector<PendingCopy>> groups;
};

struct WarpMeeting {
    int arrived;
    SimtOp op;
    SimtSite site;
    void *args[32];
    uint32_t epoch; // warp_sync calls so far
};

struct Barrier {
    int arrived, expected;
    SimtSite site;
};

static struct Block {
    int threads;
    bool broken; // a fault: every fiber is abandoned
    Thread thread[THREADS_MAX];
    WarpMeeting warp[THREADS_MAX / 32];
    Barrier barrier[BARRIERS];
    std::vector<int> ready;
} block;

static Fiber fibers[THREADS_MAX];
static void (*kernel_call)(const void *);
static const void *kernel_args;
static int running; // the thread that runs now
static uint64_t order_state;

// ---- Faults -------------------------------------------------------------------------------------

bool simt_failed(void) {
    return !fault_text.empty();
}

static void note_fault(SimtSite site, const std::string &rule) {
    if (fault_text.empty()) {
        char where[256];
        snprintf(where, sizeof where, "%s, block (%u, %u), thread %d, %s:%d: ", report.kernel,
                 simt_index.block_x, simt_index.block_y, running, site.file, site.line);
        fault_text = where + rule;
    }
    block.broken = true;
}

// From inside a thread: the launch is over for it. Its stack is abandoned, not unwound, so the text
// must be freed here.
static void thread_fault(SimtSite site, std::string &&rule) {
    {
        std::string text = std::move(rule);
        note_fault(site, text);
    }
    fiber_leave(&fibers[running], true);
    abort();
}

const char *simt_fault(void) {
    return fault_text.c_str();
}

const SimtReport *simt_report(void) {
    return &report;
}

uint64_t simt_memory_used(void) {
    return simt_memory.used();
}

void simt_reset(const SimtOptions *options) {
    simt_options = options != nullptr ? *options : SimtOptions{};
    if (simt_options.shared_max == 0) {
        simt_options.shared_max = SHARED_DEFAULT;
    }
    if (simt_options.memory_bytes == 0) {
        simt_options.memory_bytes = UINT64_C(4) << 30;
    }
    fault_text.clear();
    order_state = simt_options.seed * 0x9E3779B97F4A7C15u;
}

static uint32_t draw_below(uint32_t n) {
    order_state ^= order_state << 13;
    order_state ^= order_state >> 7;
    order_state ^= order_state << 17;
    return (uint32_t)((order_state >> 32) % n);
}

// ---- Meeting ------------------------------------------------------------------------------------

static ShadowActor actor(void) {
    return {running, block.thread[running].block_epoch, block.warp[running / 32].epoch};
}

static void wait_here(ThreadState state, SimtSite site) {
    Thread &me = block.thread[running];
    me.state = state;
    me.site = site;
    int self = running;
    fiber_leave(&fibers[self], false);
}

static void wake(int thread) {
    block.thread[thread].state = READY;
    block.ready.push_back(thread);
}

void simt_block_sync(int id, int threads, SimtSite site) {
    if (id < 0 || id >= BARRIERS || threads <= 0 || threads % 32 != 0 || threads > block.threads) {
        thread_fault(site, "barrier " + std::to_string(id) + " of " + std::to_string(threads) +
                               " threads: ids are 0 to 15, counts multiples of 32 up to the block");
    }
    Barrier &barrier = block.barrier[id];
    if (id != 0) {
        shadow.stop_race_check();
    }
    if (barrier.arrived == 0) {
        barrier.site = site;
        barrier.expected = threads;
        report.barriers++;
    } else if (barrier.expected != threads) {
        thread_fault(site, "barrier " + std::to_string(id) + " is awaited with two thread counts");
    } else if (id == 0 &&
               (barrier.site.line != site.line || strcmp(barrier.site.file, site.file) != 0)) {
        thread_fault(site, "divergent barrier: other threads wait at " +
                               std::string(barrier.site.file) + ":" +
                               std::to_string(barrier.site.line));
    }
    barrier.arrived++;
    block.thread[running].block_epoch++;
    if (barrier.arrived < barrier.expected) {
        block.thread[running].barrier = id;
        wait_here(AT_BARRIER, site);
        return;
    }
    barrier.arrived = 0;
    for (int i = 0; i < block.threads; i++) {
        if (block.thread[i].state == AT_BARRIER && block.thread[i].barrier == id) {
            wake(i);
        }
    }
}

static const char *op_name(SimtOp op) {
    static const char *names[] = {"warp_sync",   "warp_shuffle", "warp_shuffle_xor",
                                  "warp_ballot", "ldmatrix",     "ldmatrix.trans",
                                  "mma_s8",      "mma_bf16",     "mma_f16"};
    return names[op];
}

void simt_warp_meet(SimtOp op, void *args, void (*run)(void *const args[32]), SimtSite site) {
    WarpMeeting &meeting = block.warp[running / 32];
    if (meeting.arrived == 0) {
        meeting.op = op;
        meeting.site = site;
    } else if (meeting.op != op || meeting.site.line != site.line ||
               strcmp(meeting.site.file, site.file) != 0) {
        thread_fault(site, std::string("lanes of a warp diverge: this one is at ") + op_name(op) +
                               ", others at " + op_name(meeting.op) + " in " + meeting.site.file +
                               ":" + std::to_string(meeting.site.line));
    }
    meeting.args[running % 32] = args;
    if (++meeting.arrived < 32) {
        wait_here(AT_WARP_OP, site);
        return;
    }
    meeting.arrived = 0;
    run(meeting.args);
    meeting.epoch += op == SIMT_WARP_SYNC;
    int first = running / 32 * 32;
    for (int i = first; i < first + 32; i++) {
        if (block.thread[i].state == AT_WARP_OP) {
            wake(i);
        }
    }
}

// ---- Memory -------------------------------------------------------------------------------------

unsigned char *simt_shared_base(void) {
    return shadow.base();
}

void simt_shared_access(const void *pointer, size_t bytes, bool store, SimtSite site) {
    std::string rule = shadow.access(pointer, bytes, store, actor());
    if (!rule.empty()) {
        thread_fault(site, std::move(rule));
    }
    if (simt_options.profile) {
        profile.add(true, store, running, pointer, bytes, site);
    }
}

void simt_global_access(const void *pointer, size_t bytes, bool store, SimtSite site) {
    if ((uintptr_t)pointer % bytes != 0) {
        thread_fault(site, "misaligned global access of " + std::to_string(bytes) + " bytes");
    }
    if (!simt_memory.contains(pointer, bytes)) {
        thread_fault(site, std::string(store ? "writes" : "reads") + " " + std::to_string(bytes) +
                               " bytes that are not device memory");
    }
    if (simt_options.profile) {
        profile.add(false, store, running, pointer, bytes, site);
    }
}

void simt_cp_async(void *shared, const void *global, unsigned bytes, SimtSite site) {
    if (bytes > 16) {
        thread_fault(site, "cp.async of more than 16 bytes");
    }
    PendingCopy copy = {shared, {0}};
    if (bytes > 0) {
        if ((uintptr_t)global % 16 != 0) {
            thread_fault(site, "cp.async from a misaligned global address");
        }
        if (!simt_memory.contains(global, bytes)) {
            thread_fault(site, "cp.async from what is not device memory");
        }
        memcpy(copy.data, global, bytes);
        if (simt_options.profile) {
            profile.add(false, false, running, global, bytes, site);
        }
    }
    std::string rule = shadow.begin_fill(shared, actor());
    if (!rule.empty()) {
        thread_fault(site, "cp.async " + rule);
    }
    block.thread[running].uncommitted.push_back(copy);
}

void simt_cp_async_commit(void) {
    Thread &me = block.thread[running];
    me.groups.push_back(std::move(me.uncommitted));
    me.uncommitted.clear();
}

void simt_cp_async_wait(int pending, SimtSite site) {
    (void)site;
    Thread &me = block.thread[running];
    while ((int)me.groups.size() > pending) {
        for (const PendingCopy &copy : me.groups.front()) {
            shadow.end_fill(copy.shared, copy.data, actor());
        }
        me.groups.pop_front();
    }
}

// ---- Blocks -------------------------------------------------------------------------------------

static void thread_entry(void *) {
    kernel_call(kernel_args);
    Thread &me = block.thread[running];
    me.state = ENDED;
    if (!me.uncommitted.empty() || !me.groups.empty()) {
        note_fault({"the end of the kernel", 0}, "cp.async copies were never waited for");
    }
    fiber_leave(&fibers[running], true);
}

// Who waits where, in words.
static void report_deadlock(void) {
    std::string text = "deadlock:";
    for (int i = 0; i < block.threads; i++) {
        const Thread &t = block.thread[i];
        if (t.state == ENDED) {
            continue;
        }
        bool same = i > 0 && block.thread[i - 1].state == t.state &&
                    block.thread[i - 1].site.line == t.site.line;
        if (!same && text.size() < 600) {
            text += " thread " + std::to_string(i) + " and after wait at " +
                    (t.state == AT_BARRIER ? "barrier " + std::to_string(t.barrier)
                                           : "a warp operation") +
                    " in " + t.site.file + ":" + std::to_string(t.site.line) + ";";
            running = i;
        }
    }
    int ended = 0;
    for (int i = 0; i < block.threads; i++) {
        ended += block.thread[i].state == ENDED;
    }
    text += " " + std::to_string(ended) + " of " + std::to_string(block.threads) +
            " threads have ended";
    note_fault({"the scheduler", 0}, text);
}

static void run_block(unsigned x, unsigned y) {
    simt_index.block_x = x;
    simt_index.block_y = y;
    block.broken = false;
    block.ready.clear();
    for (int i = 0; i < block.threads; i++) {
        Thread &t = block.thread[i];
        t.state = READY;
        t.block_epoch = 0;
        t.uncommitted.clear();
        t.groups.clear();
        block.ready.push_back(i);
        fiber_start(&fibers[i], thread_entry, nullptr);
    }
    for (WarpMeeting &meeting : block.warp) {
        meeting.arrived = 0;
        meeting.epoch = 0;
    }
    for (Barrier &barrier : block.barrier) {
        barrier.arrived = 0;
    }
    size_t next = 0; // seed 0: first come, first served
    while (!block.broken) {
        if (next >= block.ready.size()) {
            break;
        }
        size_t at = next;
        if (simt_options.seed != 0) {
            at = next + draw_below((uint32_t)(block.ready.size() - next));
            std::swap(block.ready[at], block.ready[next]);
        }
        running = block.ready[next++];
        simt_index.thread = (unsigned)running;
        if (next > 4 * THREADS_MAX) { // keep the list short
            block.ready.erase(block.ready.begin(), block.ready.begin() + (long)next);
            next = 0;
        }
        fiber_resume(&fibers[running]);
    }
    for (int i = 0; i < block.threads && !block.broken; i++) {
        if (block.thread[i].state != ENDED) {
            report_deadlock();
        }
    }
    if (simt_options.profile) {
        profile.count(&report);
    }
}

static cudaError_t check_limits(dim3 grid, unsigned block_threads, size_t shared_bytes) {
    std::string rule;
    if (block_threads == 0 || block_threads > THREADS_MAX || block_threads % 32 != 0) {
        rule = std::to_string(block_threads) + " threads: a block has 32 to 1,024, whole warps";
    } else if (shared_bytes > simt_options.shared_max) {
        rule = std::to_string(shared_bytes) + " bytes of shared memory; a block may use " +
               std::to_string(simt_options.shared_max);
    } else if (grid.x == 0 || grid.y == 0 || grid.z != 1 || grid.y > 65535) {
        rule = "grid (" + std::to_string(grid.x) + ", " + std::to_string(grid.y) + ", " +
               std::to_string(grid.z) + "): sides are at least 1, y at most 65,535, z is 1";
    }
    if (rule.empty()) {
        return cudaSuccess;
    }
    fault_text = std::string(report.kernel) + ": " + rule;
    return cudaErrorInvalidConfiguration;
}

cudaError_t simt_run(const char *kernel, dim3 grid, unsigned block_threads, size_t shared_bytes,
                     void (*call)(const void *), const void *args) {
    static bool opened = false;
    if (!opened) {
        fiber_stacks_open(fibers, THREADS_MAX);
        opened = true;
    }
    report = SimtReport{};
    report.kernel = kernel;
    report.blocks = (uint64_t)grid.x * grid.y;
    report.threads = block_threads;
    cudaError_t status = check_limits(grid, block_threads, shared_bytes);
    if (status != cudaSuccess || simt_options.dry) {
        return status;
    }
    kernel_call = call;
    kernel_args = args;
    block.threads = (int)block_threads;
    simt_index.threads = block_threads;
    simt_index.grid_x = grid.x;
    std::vector<uint32_t> order(report.blocks);
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1 && simt_options.seed != 0; i--) {
        std::swap(order[i - 1], order[draw_below((uint32_t)i)]);
    }
    profile.clear();
    for (uint32_t index : order) {
        shadow.open(shared_bytes);
        run_block(index % grid.x, index / grid.x);
        if (block.broken) {
            return cudaErrorLaunchFailure;
        }
    }
    return cudaSuccess;
}
