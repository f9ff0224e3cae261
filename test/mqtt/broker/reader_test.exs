defmodule MQTT.Broker.ReaderTest do
  # Clients whose messages wake no process of theirs.
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Broker
  alias MQTT.Test.{V4, V5}

  @ping <<0xC0, 0>>
  @pong <<0xD0, 0>>

  # Publishes with a reference, and tells what becomes of that.
  defmodule Referring do
    use MQTT.Server

    @impl true
    def init({test, router}, _params) do
      send(test, {:pid, self()})
      {:ok, test, [session: MQTT.Session.new(), router: router]}
    end

    @impl true
    def handle_info({:publish, ref}, test),
      do: {:ok, test, {:publish, "t", "x", %{qos: 1, ref: ref}}}

    @impl true
    def handle_delivered(ref, result, test) do
      send(test, {:delivered, ref, result})
      {:ok, test}
    end
  end

  # A client that is read for, and the process of its connection, which tells of its messages.
  defp calm(name, port, client_id \\ "client") do
    client = V5.connected(port, client_id)
    {client, calm_down(client, Broker.info(name, client_id).session.connection)}
  end

  defp calm_down(client, pid) do
    :erlang.trace(pid, true, [:receive])

    # One may be read with what woke it before.
    eventually(fn ->
      Enum.all?(1..3, fn _ ->
        ping(client)
        not woken?(pid)
      end)
    end)

    pid
  end

  # The process has seen it before anything ends it.
  defp monitor(pid) do
    monitor = Process.monitor(pid)
    _ = :sys.get_state(pid)
    monitor
  end

  defp ping(client) do
    send_bytes(client, @ping)
    assert recv(client) == @pong
  end

  # Whether the process has had a message.
  defp woken?(pid) do
    delivered = :erlang.trace_delivered(pid)
    assert_receive {:trace_delivered, ^pid, ^delivered}
    flush(pid, false)
  end

  defp flush(pid, woken?) do
    receive do
      {:trace, ^pid, :receive, _} -> flush(pid, true)
    after
      0 -> woken?
    end
  end

  test "messages, their acknowledgements and pings wake nobody" do
    {name, port} = broker()
    {subscriber, reader} = calm(name, port, "subscriber")
    V5.subscribed(subscriber, [{"#", 2}])
    _ = calm_down(subscriber, reader)
    {publisher, writer} = calm(name, port, "publisher")

    for qos <- 0..2, n <- 1..10 do
      first = 0x30 + 2 * qos

      if qos == 0,
        do: send_bytes(publisher, V5.publish("t", "#{n}")),
        else: assert(V5.publish_fully(publisher, first, "t", n, "#{n}") == 0)

      assert {:publish, ^first, "t", id, payload, []} = V5.recv_packet(subscriber)
      assert payload == "#{n}"
      acknowledge(subscriber, qos, id)
    end

    ping(subscriber)
    refute woken?(reader)
    refute woken?(writer)
  end

  defp acknowledge(_client, 0, _id), do: :ok
  defp acknowledge(client, 1, id), do: send_bytes(client, <<0x40, 2, id::16>>)

  defp acknowledge(client, 2, id) do
    send_bytes(client, <<0x50, 2, id::16>>)
    assert {:pubrel, ^id, 0, _} = V5.recv_packet(client)
    send_bytes(client, <<0x70, 2, id::16>>)
  end

  test "a subscription comes to the process, behind the messages before it" do
    {name, port} = broker()
    {client, pid} = calm(name, port)
    other = V5.subscribed(V5.connected(port, "other"), [{"a", 0}])
    send_bytes(client, [V5.publish("a", "1"), V5.subscribe(1, [{"a", 0}]), V5.publish("a", "2")])
    assert {:suback, 1, [0], []} = V5.recv_packet(client)
    assert recv(client) == V5.publish("a", "2")
    assert recv(other) == V5.publish("a", "1")
    assert recv(other) == V5.publish("a", "2")
    assert woken?(pid)

    # And then it is read for again.
    _ = calm_down(client, pid)
    send_bytes(client, V5.publish("a", "3"))
    assert recv(client) == V5.publish("a", "3")
    refute woken?(pid)
  end

  test "a DISCONNECT and what is wrong are seen, behind the messages before them" do
    {name, port} = broker()
    other = V5.subscribed(V5.connected(port, "other"), [{"a", 0}])

    for {last, reason, said} <- [
          {<<0xE0, 0>>, :normal, []},
          # SUBSCRIBE with flags that are not its own.
          {<<0x80, 0>>, {:shutdown, {:protocol_error, :malformed_packet}}, [0x81]},
          # Of PUBLISH, QoS 3.
          {<<0x36, 0>>, {:shutdown, {:protocol_error, :malformed_packet}}, [0x81]},
          # A CONNECT again.
          {V5.connect(0x02, ["client"]), {:shutdown, {:protocol_error, :protocol_error}}, [0x82]}
        ] do
      {client, pid} = calm(name, port)
      monitor = monitor(pid)
      send_bytes(client, [V5.publish("a", "before"), last, V5.publish("a", "behind")])
      assert_receive {:DOWN, ^monitor, _, _, ended}
      assert tag(ended) == tag(reason)
      if said == [], do: assert_closed(client), else: V5.assert_ended(client, said)
      assert recv(other) == V5.publish("a", "before")
    end

    ping(other)
  end

  # Which violation it is, is the codec's to name.
  defp tag({:shutdown, {:protocol_error, _}}), do: :protocol_error
  defp tag(reason), do: reason

  test "the end right behind a message is seen" do
    {name, port} = broker()
    other = V5.subscribed(V5.connected(port, "other"), [{"a", 0}])

    for n <- 1..30 do
      {client, pid} = calm(name, port)
      monitor = monitor(pid)
      send_bytes(client, V5.publish("a", "#{n}"))

      case rem(n, 3) do
        0 -> close(client)
        1 -> :gen_tcp.shutdown(client.socket, :write)
        2 -> abort(client)
      end

      assert_receive {:DOWN, ^monitor, _, _, {:shutdown, :closed}}
      # What a reset client has sent may be gone with it.
      if rem(n, 3) != 2, do: assert(recv_until(other, V5.publish("a", "#{n}")))
    end
  end

  defp recv_until(client, packet), do: recv(client) == packet or recv_until(client, packet)

  test "a silent client is noticed" do
    {name, port} = broker()
    client = open(port)
    send_bytes(client, V5.connect(0x02, ["client"], "", 1))
    assert {:connack, 0, 0, _} = V5.recv_packet(client)
    pid = calm_down(client, Broker.info(name, "client").session.connection)
    monitor = monitor(pid)
    assert_receive {:DOWN, ^monitor, _, _, {:shutdown, :keep_alive_timeout}}, 5_000
  end

  test "a session goes over to another connection" do
    {name, port} = broker()
    {client, pid} = calm(name, port)
    monitor = monitor(pid)
    other = V5.connected(port, "client")
    V5.assert_ended(client, [0x8E])
    assert_receive {:DOWN, ^monitor, _, _, {:shutdown, :session_taken_over}}
    ping(other)
  end

  test "a client that floods, or publishes to many, is read by its process until it is calm" do
    {name, port} = broker()
    {client, pid} = calm(name, port)
    send_bytes(client, List.duplicate(V5.publish("nobody", String.duplicate("x", 200)), 200))
    ping(client)
    assert woken?(pid)

    _ = calm_down(client, pid)
    send_bytes(client, V5.publish("nobody", String.duplicate("x", 20_000)))
    ping(client)
    assert woken?(pid)

    subscribers = for n <- 1..100, do: V4.subscribed(V4.connected(port, "#{n}"), [{"all", 0}])
    _ = calm_down(client, pid)
    send_bytes(client, V5.publish("all", "x"))
    for subscriber <- subscribers, do: assert(recv(subscriber) == V4.publish("all", "x"))
    eventually(fn -> woken?(pid) end)
  end

  test "a client that does not read what it publishes gets it all, and is not read meanwhile" do
    {name, port} = broker(max_queue_bytes: 100_000)
    client = open(port, recbuf: 4_096)
    send_bytes(client, V5.connect(0x02, ["client"]))
    assert {:connack, 0, 0, _} = V5.recv_packet(client)
    V5.subscribed(client, [{"a", 0}])
    pid = calm_down(client, Broker.info(name, "client").session.connection)
    packet = &V5.publish("a", <<&1::32, 0::size(4_000)-unit(8)>>)

    # Small enough at once to wake nobody, until the kernel takes no more.
    sender =
      Task.async(fn ->
        for n <- 1..1_500 do
          send_bytes(client, packet.(n))
          receive after: (1 -> :ok)
        end
      end)

    eventually(fn -> woken?(pid) end)
    _ = Task.yield(sender, 1_000)
    for n <- 1..1_500, do: assert(recv(client) == packet.(n))
    Task.await(sender)
    ping(client)
  end

  describe "a message to more than a call reaches" do
    setup do
      {name, port} = broker()
      subscribers = for n <- 1..700, do: V4.subscribed(V4.connected(port, "#{n}"), [{"+", 0}])
      client = V5.connected(port, "client", 0x06, [V5.will("will", "gone")])
      pid = calm_down(client, Broker.info(name, "client").session.connection)
      # So that some of them have it, and the rest is left to the process.
      :ok = :sys.suspend(pid)
      %{name: name, subscribers: subscribers, client: client, pid: pid}
    end

    test "comes before the will of its client",
         %{name: name, client: client, pid: pid} = context do
      assert Broker.disconnect(name, "client")
      assert woken?(pid)
      send_bytes(client, V5.publish("all", "x"))
      eventually(fn -> woken?(pid) end)
      :ok = :sys.resume(pid)

      for subscriber <- context.subscribers do
        assert recv(subscriber) == V4.publish("all", "x")
        assert recv(subscriber) == V4.publish("will", "gone")
      end
    end

    test "reaches all when the process is killed", %{client: client, pid: pid} = context do
      assert woken?(pid)
      send_bytes(client, V5.publish("all", "x"))
      eventually(fn -> woken?(pid) end)
      Process.exit(pid, :kill)

      # The will may come before it.
      for subscriber <- context.subscribers do
        packets = [recv(subscriber), recv(subscriber)]
        assert Enum.sort(packets) == [V4.publish("all", "x"), V4.publish("will", "gone")]
      end
    end
  end

  test "what has become of a message is told, also where it comes with what ends the connection" do
    handler = {Referring, {self(), MQTT.Router.new()}}
    listener = start_supervised!({MQTT.Listener, ip: {127, 0, 0, 1}, port: 0, handler: handler})
    client = V4.connected(MQTT.Listener.info(listener).port, "client")
    assert_receive {:pid, pid}
    monitor = monitor(pid)

    for {ref, behind} <- [{1, ""}, {2, <<0x36, 0>>}] do
      _ = calm_down(client, pid)
      send(pid, {:publish, ref})
      assert {0x32, "t", id, "x"} = V4.recv_publish(client)
      _ = calm_down(client, pid)
      send_bytes(client, [<<0x40, 2, id::16>>, behind])
      assert_receive {:delivered, ^ref, :ok}
    end

    assert_receive {:DOWN, ^monitor, _, _, {:shutdown, {:protocol_error, _}}}
  end

  test "messages keep their order, whoever reads them" do
    {name, port} = broker()
    :rand.seed(:exsss, {1, 2, 3})
    subscriber = V4.subscribed(V4.connected(port, "subscriber"), [{"t", 0}])
    {publisher, _} = calm(name, port, "publisher")

    # From a message alone to more than a read, and then nothing for a moment.
    for n <- 1..150, reduce: 0 do
      from ->
        {count, size} = {Enum.random([1, 1, 1, 5, 50, 200]), Enum.random([8, 8, 100, 3_000])}
        numbers = (from + 1)..(from + count)
        packet = &V5.publish("t", <<&1::32, 0::size(size)-unit(8)>>)
        send_bytes(publisher, Enum.map(numbers, packet))
        # Some wait for the subscriber, so that it is not too slow for them.
        if rem(n, 4) == 0, do: receive(after: (Enum.random(0..2) -> :ok))

        for number <- numbers do
          assert {0x30, "t", nil, <<^number::32, _::binary>>} = V4.recv_publish(subscriber)
        end

        from + count
    end
  end

  test "what was acknowledged has reached the others when the process is killed" do
    {name, port} = broker()
    subscriber = V4.subscribed(V4.connected(port, "subscriber"), [{"t/#", 0}])

    for n <- 1..30 do
      {publisher, pid} = calm(name, port, "publisher")
      topic = "t/#{n}"
      killer = spawn_link(fn -> receive(do: (:now -> Process.exit(pid, :kill))) end)

      acknowledged =
        Enum.reduce_while(1..200, 0, fn id, count ->
          if id == 20 + n, do: send(killer, :now)

          with :ok <- :gen_tcp.send(publisher.socket, V5.publish(0x32, topic, id, "#{id}")),
               {:ok, <<0x40, _::binary>>} <- :gen_tcp.recv(publisher.socket, 0) do
            {:cont, count + 1}
          else
            _ -> {:halt, count}
          end
        end)

      assert acknowledged >= 19
      send_bytes(subscriber, V4.publish("t/end", "#{n}"))
      got = recv_topic(subscriber, topic)
      assert Enum.take(got, acknowledged) == Enum.map(1..acknowledged, &"#{&1}")
    end
  end

  defp recv_topic(subscriber, topic) do
    case V4.recv_publish(subscriber) do
      {0x30, ^topic, nil, payload} -> [payload | recv_topic(subscriber, topic)]
      {0x30, "t/end", nil, _} -> []
      # One that came behind its connection's end.
      {0x30, _, nil, _} -> recv_topic(subscriber, topic)
    end
  end
end
