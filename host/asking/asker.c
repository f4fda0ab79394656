// SPDX-License-Identifier: Apache-2.0
#include "host/asking/asker_way.h"

const ModelFacts *asker_model(const Asker *asker) {
    return &asker->model;
}

Status asker_start(Asker *asker, const AskerNeed *need, Error *error) {
    return asker->way->start(asker, need, error);
}

Status asker_run(Asker *asker, const AskerRun *run, AskerStats *stats, Error *error) {
    *stats = (AskerStats){0};
    return asker->way->run(asker, run, stats, error);
}

void asker_close(Asker *asker) {
    if (asker != NULL) {
        asker->way->close(asker);
    }
}
