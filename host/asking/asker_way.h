// SPDX-License-Identifier: Apache-2.0
// What a way of answering is to asker.c: it begins with an Asker, and has these functions.
#ifndef HOST_ASKING_ASKER_WAY_H
#define HOST_ASKING_ASKER_WAY_H

#include "host/asking/asker.h"

typedef struct AskerWay {
    Status (*start)(Asker *asker, const AskerNeed *need, Error *error);
    Status (*run)(Asker *asker, const AskerRun *run, AskerStats *stats, Error *error);
    void (*close)(Asker *asker);
} AskerWay;

struct Asker {
    const AskerWay *way;
    ModelFacts model;
};

#endif
