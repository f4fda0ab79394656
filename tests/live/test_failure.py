#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera serve when its engine fails in the middle of work; and that the gates of the tests hold.

    tests/live/test_failure.py PROGRAM      tessera_failing (failing_engine.c); needs python3-msgpack
"""
import os

import live
from live import Gate, LiveTest, eventually
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


class Gates(LiveTest):
    def test_a_held_engine_does_the_steps_it_may_and_no_more(self):
        gate = Gate(self.folder)
        with Server(self.folder, gate=gate) as server, server.client() as client:
            gate.hold()
            stream = client.generate("Write.", max_tokens=40, seed=2, sampling={"temperature": 100})
            for step in range(1, 6):
                gate.reached(step)
                self.assertEqual(client.call("stats")["server"]["steps"], step - 1)
                gate.let()
                eventually(lambda: client.call("stats")["server"]["steps"] == step)
            gate.reached(6)
            self.assertEqual(gate.since(), 6)
            gate.release()
            client.done(stream)
            self.assertGreater(gate.since(), 6)

    def test_a_held_preparation_lasts(self):
        gate = Gate(self.folder, "prep")
        with Server(self.folder, gate=gate) as server, server.client() as client:
            gate.hold()
            stream = client.generate("Write.", max_tokens=1)
            gate.reached(1)
            eventually(lambda: client.call("stats")["server"]["preparing"] == 1)
            gate.let()
            self.assertEqual(client.done(stream)[0]["samples"][0]["reason"], "length")


if __name__ == "__main__":
    live.main()
