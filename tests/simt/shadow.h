// SPDX-License-Identifier: Apache-2.0
// What the emulator knows about memory: the state of every byte of a block's shared memory, who
// touched each byte since the last barrier, which addresses are device memory, and the access
// patterns of warps.
#ifndef TESTS_SIMT_SHADOW_H
#define TESTS_SIMT_SHADOW_H

#include "tests/simt/prim_simt.h"

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

// Who looks: the thread and how many barriers it (and its warp) has passed.
struct ShadowActor {
    int thread;
    uint32_t block_epoch, warp_epoch;
};

class SharedShadow {
  public:
    void open(size_t bytes); // poisons the memory, forgets everything
    unsigned char *base() {
        return memory;
    }
    // Each returns the rule that was broken, or an empty text.
    std::string access(const void *pointer, size_t bytes, bool store, const ShadowActor &actor);
    std::string begin_fill(void *pointer, const ShadowActor &actor); // cp.async of 16 bytes
    void end_fill(void *pointer, const void *data, const ShadowActor &actor);
    void stop_race_check() { // a named barrier orders some threads and not others
        races = false;
    }

  private:
    enum State : uint8_t { UNWRITTEN, WRITTEN, FILLING };
    struct Touched {
        int16_t writer = -1, reader = -1; // reader -2: several
        uint32_t write_block = 0, write_warp = 0, read_block = 0, read_warp = 0;
    };
    std::string locate(const void *pointer, size_t bytes, size_t *offset) const;
    std::string race(size_t offset, size_t bytes, bool store, const ShadowActor &actor);

    unsigned char *memory = nullptr;
    size_t size = 0;
    bool races = true;
    std::vector<uint8_t> states;
    std::vector<Touched> touched; // by byte
};

// Live device memory, for "is this device memory" and leaks.
class DeviceMemory {
  public:
    void *take(size_t bytes, uint64_t limit); // NULL when the limit is reached
    bool give(void *pointer);
    bool contains(const void *pointer, size_t bytes) const;
    uint64_t used() const {
        return used_bytes;
    }

  private:
    std::map<const unsigned char *, size_t> blocks;
    uint64_t used_bytes = 0;
};

// Collects, per warp and instruction, the addresses its lanes touched; then counts.
class AccessProfile {
  public:
    void clear();
    void add(bool shared, bool store, int thread, const void *pointer, size_t bytes, SimtSite site);
    void count(SimtReport *report); // and forget

  private:
    struct Touch {
        uint64_t address;
        uint32_t bytes;
        int lane;
    };
    struct Group {
        bool shared, store;
        std::vector<Touch> touches;
    };
    struct Key {
        const char *file;
        int line, warp;
        bool shared, store;
        uint32_t occurrence;
        bool operator==(const Key &o) const {
            return file == o.file && line == o.line && warp == o.warp && shared == o.shared &&
                   store == o.store && occurrence == o.occurrence;
        }
    };
    struct KeyHash {
        size_t operator()(const Key &k) const {
            return (((size_t)k.file * 31 + (size_t)k.line) * 1009 + (size_t)k.warp) * 65537 +
                   k.occurrence * 4 + k.shared * 2 + k.store;
        }
    };
    std::unordered_map<Key, Group, KeyHash> groups;
    std::unordered_map<Key, uint32_t, KeyHash> occurrences; // by thread (in .warp), occurrence 0
};

#endif
