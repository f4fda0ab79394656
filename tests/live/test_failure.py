#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera serve when its engine fails in the middle of work.

    tests/live/test_failure.py PROGRAM      tessera_failing (failing_engine.c); needs python3-msgpack
"""
import os

import live
from live import Gate, LiveTest
from rpc import Server, picture

CLIENTS = 6


class Failure(LiveTest):
    def test_everybody_gets_the_error_and_the_server_ends_for_its_supervisor(self):
        self.fails(dict(os.environ))

    def test_so_it_is_with_a_second_step_under_way(self):
        self.fails(dict(os.environ, TESSERA_TEST_AHEAD="1"))

    def fails(self, environment):
        gate = Gate(self.folder)
        server = Server(self.folder, "--batch", "4", environment=dict(environment, TESSERA_TEST_FAIL_AT="40"), gate=gate)
        gate.hold()
        clients = [server.client() for _ in range(CLIENTS)]
        # More than the batch holds: some run, some wait.
        streams = [client.generate("Write.", stream=index % 2 == 0, max_tokens=1600, seed=index,
                                   sampling={"temperature": 100}) for index, client in enumerate(clients)]
        gate.release()  # all are there
        for client, stream in zip(clients, streams):
            done, _ = client.done(stream)
            self.assertEqual(done["error"]["name"], "E_DEVICE", done)
            self.assertEqual([sample["reason"] for sample in done["samples"]], ["error"])
            name, params = client.event()
            self.assertEqual((name, params["name"]), ("goodbye", "E_DEVICE"))
            self.assertIsNone(client.receive(), "nothing comes after the goodbye")
            client.socket.close()
        self.assertEqual(server.wait(), 3)
        server.close(3)
        log = server.log()
        self.assertIn("engine_failed", log)
        self.assertIn('status=E_DEVICE error="the test ends the engine at step 40"', log)
        self.assertFalse(server.path.exists(), "the socket is gone")
        # What systemd does next (Restart=on-failure).
        with Server(self.folder, environment=environment) as again, again.client() as client:
            self.assertEqual(client.complete(picture(sorted(live.PICTURES.glob("[0-9]*"))[0]))
                             ["samples"][0]["reason"], "stop")


if __name__ == "__main__":
    live.main()
