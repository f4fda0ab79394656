// SPDX-License-Identifier: Apache-2.0
#include "tests/simt/shadow.h"

#include <stdlib.h>

#include <algorithm>
#include <set>

enum { SHARED_ALIGN = 1024, POISON = 0xCD };

// ---- Shared memory ------------------------------------------------------------------------------

void SharedShadow::open(size_t bytes) {
    size_t need = (bytes + SHARED_ALIGN - 1) / SHARED_ALIGN * SHARED_ALIGN;
    if (bytes != size || memory == nullptr) {
        free(memory);
        memory =
            (unsigned char *)aligned_alloc(SHARED_ALIGN, need > 0 ? need : (size_t)SHARED_ALIGN);
        size = bytes;
    }
    memset(memory, POISON, need);
    states.assign(bytes, UNWRITTEN);
    touched.assign(bytes, Touched());
    races = true;
}

std::string SharedShadow::locate(const void *pointer, size_t bytes, size_t *offset) const {
    const unsigned char *p = (const unsigned char *)pointer;
    if (p < memory || p + bytes > memory + size) {
        return "shared memory out of bounds: " + std::to_string(bytes) + " bytes at offset " +
               std::to_string(p - memory) + " of " + std::to_string(size);
    }
    *offset = (size_t)(p - memory);
    if (*offset % bytes != 0) {
        return "misaligned shared access: " + std::to_string(bytes) + " bytes at offset " +
               std::to_string(*offset);
    }
    return "";
}

static bool ordered(int other, int thread, uint32_t block, uint32_t warp, const ShadowActor &now) {
    if (other == thread) {
        return true;
    }
    bool same_warp = other >= 0 && other / 32 == thread / 32;
    return block != now.block_epoch || (same_warp && warp != now.warp_epoch);
}

std::string SharedShadow::race(size_t offset, size_t bytes, bool store, const ShadowActor &actor) {
    for (size_t i = offset; i < offset + bytes; i++) {
        Touched &byte = touched[i];
        if (byte.writer >= 0 &&
            !ordered(byte.writer, actor.thread, byte.write_block, byte.write_warp, actor)) {
            return std::string(store ? "writes" : "reads") + " the byte at offset " +
                   std::to_string(i) + " that thread " + std::to_string(byte.writer) +
                   " wrote, without a barrier between";
        }
        bool read_now = byte.reader != -1 && byte.read_block == actor.block_epoch;
        if (store && read_now &&
            !ordered(byte.reader, actor.thread, byte.read_block, byte.read_warp, actor)) {
            return "writes the byte at offset " + std::to_string(i) +
                   " that another thread read, without a barrier between";
        }
        if (store) {
            byte.writer = (int16_t)actor.thread;
            byte.write_block = actor.block_epoch;
            byte.write_warp = actor.warp_epoch;
        } else {
            bool several = read_now && byte.reader != actor.thread &&
                           !(byte.reader >= 0 && byte.reader / 32 == actor.thread / 32 &&
                             byte.read_warp != actor.warp_epoch);
            byte.reader = (int16_t)(several ? -2 : actor.thread);
            byte.read_block = actor.block_epoch;
            byte.read_warp = actor.warp_epoch;
        }
    }
    return "";
}

std::string SharedShadow::access(const void *pointer, size_t bytes, bool store,
                                 const ShadowActor &actor) {
    size_t offset = 0;
    std::string fault = locate(pointer, bytes, &offset);
    if (!fault.empty()) {
        return fault;
    }
    for (size_t i = offset; i < offset + bytes; i++) {
        if (states[i] == FILLING) {
            return "touches shared memory at offset " + std::to_string(i) +
                   " while cp.async is still filling it";
        }
        if (!store && states[i] == UNWRITTEN) {
            return "reads shared memory at offset " + std::to_string(i) + " before it is written";
        }
        states[i] = WRITTEN;
    }
    return races ? race(offset, bytes, store, actor) : "";
}

std::string SharedShadow::begin_fill(void *pointer, const ShadowActor &actor) {
    size_t offset = 0;
    std::string fault = locate(pointer, 16, &offset);
    if (fault.empty() && races) {
        fault = race(offset, 16, true, actor);
    }
    if (fault.empty()) {
        memset(memory + offset, POISON, 16);
        std::fill(states.begin() + (long)offset, states.begin() + (long)offset + 16, FILLING);
    }
    return fault;
}

void SharedShadow::end_fill(void *pointer, const void *data, const ShadowActor &actor) {
    size_t offset = (size_t)((unsigned char *)pointer - memory);
    memcpy(pointer, data, 16);
    std::fill(states.begin() + (long)offset, states.begin() + (long)offset + 16, WRITTEN);
    if (races) {
        race(offset, 16, true, actor); // the write happens now, as far as others are concerned
    }
}

// ---- Device memory ------------------------------------------------------------------------------

void *DeviceMemory::take(size_t bytes, uint64_t limit) {
    if (bytes > limit || used_bytes > limit - bytes) {
        return nullptr;
    }
    size_t rounded = (bytes + 255) / 256 * 256;
    unsigned char *p = (unsigned char *)aligned_alloc(256, rounded > 0 ? rounded : 256);
    if (p != nullptr) {
        memset(p, POISON, rounded);
        blocks[p] = bytes;
        used_bytes += bytes;
    }
    return p;
}

bool DeviceMemory::give(void *pointer) {
    auto it = blocks.find((unsigned char *)pointer);
    if (it == blocks.end()) {
        return false;
    }
    used_bytes -= it->second;
    blocks.erase(it);
    free(pointer);
    return true;
}

bool DeviceMemory::contains(const void *pointer, size_t bytes) const {
    const unsigned char *p = (const unsigned char *)pointer;
    auto it = blocks.upper_bound(p);
    if (it == blocks.begin()) {
        return false;
    }
    --it;
    return p + bytes <= it->first + it->second;
}

// ---- Profile ------------------------------------------------------------------------------------

void AccessProfile::clear() {
    groups.clear();
    occurrences.clear();
}

void AccessProfile::add(bool shared, bool store, int thread, const void *pointer, size_t bytes,
                        SimtSite site) {
    uint32_t occurrence = occurrences[{site.file, site.line, thread, shared, store, 0}]++;
    Group &group = groups[{site.file, site.line, thread / 32, shared, store, occurrence}];
    group.shared = shared;
    group.store = store;
    group.touches.push_back({(uint64_t)(uintptr_t)pointer, (uint32_t)bytes, thread % 32});
}

// 32 banks of 4 bytes. Accesses of 16 bytes are served a quarter warp at a time, of 8 bytes a half
// warp at a time; equal words are broadcast. Returns the cycles beyond one per part.
static uint64_t conflicts_of(std::vector<std::pair<uint64_t, uint32_t>> *part) {
    std::map<uint64_t, std::set<uint64_t>> banks;
    for (auto &touch : *part) {
        for (uint64_t b = 0; b < touch.second; b += 4) {
            uint64_t word = (touch.first + b) / 4;
            banks[word % 32].insert(word);
        }
    }
    uint64_t worst = 1;
    for (auto &bank : banks) {
        worst = std::max<uint64_t>(worst, bank.second.size());
    }
    part->clear();
    return worst - 1;
}

void AccessProfile::count(SimtReport *report) {
    for (auto &entry : groups) {
        Group &group = entry.second;
        std::sort(group.touches.begin(), group.touches.end(),
                  [](const Touch &a, const Touch &b) { return a.lane < b.lane; });
        if (group.shared) {
            report->shared_accesses++;
            std::vector<std::pair<uint64_t, uint32_t>> part;
            int part_lanes = group.touches[0].bytes == 16  ? 8
                             : group.touches[0].bytes == 8 ? 16
                                                           : 32;
            int first = group.touches[0].lane / part_lanes;
            for (auto &touch : group.touches) {
                if (touch.lane / part_lanes != first) {
                    report->bank_conflicts += conflicts_of(&part);
                    first = touch.lane / part_lanes;
                }
                part.push_back({touch.address, touch.bytes});
            }
            report->bank_conflicts += conflicts_of(&part);
            continue;
        }
        std::set<uint64_t> sectors;
        uint64_t bytes = 0;
        for (auto &touch : group.touches) {
            bytes += touch.bytes;
            for (uint64_t b = 0; b < touch.bytes; b++) {
                sectors.insert((touch.address + b) / 32);
            }
        }
        uint64_t least = (bytes + 31) / 32;
        (group.store ? report->store_sectors : report->load_sectors) += sectors.size();
        (group.store ? report->store_sectors_min : report->load_sectors_min) += least;
    }
    clear();
}
