# SPDX-License-Identifier: Apache-2.0
"""Client and AsyncClient against an echoing peer."""
import asyncio
import pathlib
import unittest
from concurrent.futures import ThreadPoolExecutor

from peer import LIMIT, Peer
from tessera_client import (AsyncClient, Blob, Client, ConnectionLost, Message, ProtocolError,
                            Sampling, ServerError)

LONG = " ".join(f"word{i}" for i in range(500))


class Blocking(unittest.TestCase):
    def setUp(self):
        self.peer = Peer()
        self.addCleanup(self.peer.close)
        self.client = Client(self.peer.address, token="t", timeout=LIMIT)
        self.addCleanup(self.client.close)

    def test_hello_is_said_by_the_constructor(self):
        self.assertEqual((self.client.hello.user, self.client.hello.features), ("alice", ("images",)))

    def test_an_answer_and_what_was_sent_for_it(self):
        answer = self.client.ask("one two", images=[b"jpeg", Blob("00")], system="s", max_tokens=5,
                                 sampling=Sampling(temperature=0.0))
        self.assertEqual((answer.text, answer.reason, answer.usage.prompt_tokens), ("one two ", "stop", 7))
        sent = self.peer.seen[0]
        self.assertEqual(sent["messages"][0], {"role": "system", "content": "s"})
        self.assertEqual(sent["messages"][1]["content"], [
            {"type": "image", "data": b"jpeg"}, {"type": "image", "blob": "00"}, {"type": "text", "text": "one two"}])
        self.assertEqual((sent["max_tokens"], sent["sampling"]), (5, {"temperature": 0.0}))

    def test_a_picture_may_be_a_path(self):
        self.client.ask("x", images=[__file__])
        self.assertEqual(self.peer.seen[0]["messages"][0]["content"][0]["data"],
                         pathlib.Path(__file__).read_bytes())

    def test_a_stream_longer_than_its_credit_comes_whole(self):
        with self.client.stream(LONG) as stream:
            pieces = [piece.text for piece in stream]
        self.assertEqual(len(pieces), 500)
        self.assertEqual("".join(pieces).strip(), LONG)
        self.assertEqual(stream.answer.text.strip(), LONG)
        self.assertEqual(stream.answer.samples[0].ids, tuple(range(500)))

    def test_leaving_a_stream_early_cancels_it(self):
        with self.client.stream([Message("user", LONG)]) as stream:
            next(iter(stream))
        self.assertEqual(self.client.health(), "ok")
        self.assertEqual(self.peer.cancelled, [stream.id])

    def test_cancel_ends_with_reason_cancel(self):
        stream = self.client.stream("hang")
        stream.cancel()
        self.assertEqual(stream.result().reason, "cancel")

    def test_busy_is_tried_again(self):
        self.assertEqual(self.client.ask("busy hello").text, "hello ")
        self.assertEqual(len(self.peer.seen), 2)

    def test_errors_carry_name_and_sentence(self):
        with self.assertRaises(ServerError) as caught:
            self.client.ask("fail")
        self.assertEqual((caught.exception.name, caught.exception.code), ("E_DEVICE", -1501))
        with self.assertRaises(ServerError) as caught:
            Client(self.peer.address, token="wrong")
        self.assertEqual(caught.exception.name, "E_AUTH")

    def test_a_lost_server_is_an_error_of_every_call(self):
        with self.assertRaises(ConnectionLost):
            self.client.ask("drop")
        with self.assertRaises(ConnectionLost):
            self.client.stats()
        with self.assertRaises(ConnectionLost):
            Client("unix:/nowhere/s")

    def test_nonsense_is_a_protocol_error(self):
        with self.assertRaises(ProtocolError):
            self.client.ask("nonsense")

    def test_a_timeout_cancels_on_the_server(self):
        with Client(self.peer.address, timeout=LIMIT) as client:
            client._timeout = 0.05  # from here on: the hello had its time
            with self.assertRaises(TimeoutError):
                client.ask("hang")
            self.peer.wait_for(lambda: len(self.peer.cancelled) == 1)
            client._timeout = LIMIT
            self.assertEqual(client.health(), "ok")

    def test_many_threads_share_one_connection(self):
        with ThreadPoolExecutor(16) as pool:
            texts = list(pool.map(lambda i: self.client.ask(f"number {i}").text, range(200)))
        self.assertEqual(texts, [f"number {i} " for i in range(200)])

    def test_the_small_calls(self):
        self.assertEqual(self.client.put_blob(b"12345"), Blob("%032x" % 5))
        self.assertEqual(self.client.tokenize("ab"), [97, 98])
        self.assertEqual(self.client.stats()["server"], {"running": 1})
        model = self.client.models()[0]
        self.assertEqual((model.name, model.vision, model.sampling.top_k), ("echo", True, 64))


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.peer = Peer()
        self.addCleanup(self.peer.close)
        self.client = await AsyncClient(self.peer.address, token="t").connect()

    async def asyncTearDown(self):
        await self.client.close()

    async def test_many_answers_at_once(self):
        answers = await asyncio.gather(*(self.client.ask(f"number {i}") for i in range(200)))
        self.assertEqual([answer.text for answer in answers], [f"number {i} " for i in range(200)])

    async def test_a_stream_longer_than_its_credit_comes_whole(self):
        async with await self.client.stream(LONG) as stream:
            pieces = [piece.text async for piece in stream]
        self.assertEqual("".join(pieces).strip(), LONG)
        self.assertEqual(stream.answer.text.strip(), LONG)

    async def test_a_cancelled_task_cancels_on_the_server(self):
        task = asyncio.create_task(self.client.ask("hang"))
        await asyncio.to_thread(self.peer.wait_for, lambda: self.peer.seen)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(self.peer.wait_for, lambda: len(self.peer.cancelled) == 1)
        self.assertEqual(await self.client.health(), "ok")

    async def test_a_task_cancelled_when_its_stream_was_just_opened_cancels_it_too(self):
        deliver = self.client._deliver

        def deliver_and_cancel(event):
            deliver(event)
            task.cancel()  # it has its answer and has not run since
        self.client._deliver = deliver_and_cancel
        task = asyncio.create_task(self.client.ask("hang"))
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.client._deliver = deliver
        await asyncio.to_thread(self.peer.wait_for, lambda: len(self.peer.cancelled) == 1)
        self.assertEqual(await self.client.health(), "ok")
        self.assertEqual(self.client._streams, {}, "its done event was the last of it")

    async def test_busy_errors_and_loss(self):
        self.assertEqual((await self.client.ask("busy hello")).text, "hello ")
        with self.assertRaises(ServerError):
            await self.client.ask("fail")
        with self.assertRaises(ServerError):
            await AsyncClient(self.peer.address, token="wrong").connect()
        with self.assertRaises(ConnectionLost):
            await self.client.ask("drop")
        with self.assertRaises(ConnectionLost):
            await self.client.stats()
        with self.assertRaises(ConnectionLost):
            await AsyncClient("unix:/nowhere/s").connect()

    async def test_the_small_calls(self):
        self.assertEqual(await self.client.put_blob(b"12345"), Blob("%032x" % 5))
        self.assertEqual(await self.client.tokenize("ab"), [97, 98])
        self.assertEqual((await self.client.models())[0].sampling.top_k, 64)


if __name__ == "__main__":
    unittest.main()
