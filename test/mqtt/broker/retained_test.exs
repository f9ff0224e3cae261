defmodule MQTT.Broker.RetainedTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Message, Router, Session}
  alias MQTT.Test.{Residue, V4, V5}

  describe "retained messages" do
    test "come with a subscription, replaced or removed" do
      {name, port} = broker()
      client = V4.connected(port, "client")
      for n <- 1..3, do: V4.publish_fully(client, 0x33, "kept/#{n}", n, "#{n}")
      V4.publish_fully(client, 0x33, "kept/2", 4, "new")
      V4.publish_fully(client, 0x33, "kept/3", 5, "")
      V4.publish_fully(client, "kept/4", 6, "not retained")
      V4.subscribed(client, [{"kept/+", 1}])
      assert {0x33, "kept/1", _, "1"} = V4.recv_publish(client)
      assert {0x33, "kept/2", _, "new"} = V4.recv_publish(client)
      # As it is published it is not a retained one, but with Retain As Published.
      send_bytes(client, V4.publish(0x31, "kept/5", "live"))
      assert {0x30, "kept/5", nil, "live"} = V4.recv_publish(client)
      five = V5.connected(port, "five")
      V5.subscribed(five, [{"kept/6", 0x08}])
      send_bytes(client, V4.publish(0x31, "kept/6", "live"))
      assert {:publish, 0x31, "kept/6", nil, "live", []} = V5.recv_packet(five)
      topics = for %Message{topic: topic} <- Broker.retained(name, "kept/#"), do: topic
      assert topics == ["kept/1", "kept/2", "kept/5", "kept/6"]
    end

    test "are not sent where Retain Handling says so" do
      {name, port} = broker()
      Broker.publish(name, "t", "kept", %{retain: true})
      client = V5.connected(port, "client")
      V5.subscribed(client, [{"t", 0x20}])
      V5.subscribed(client, [{"t", 0x10}])
      assert_open(client)
      send_bytes(client, V5.unsubscribe(1, ["t"]))
      assert {:unsuback, 1, [0], _} = V5.recv_packet(client)
      V5.subscribed(client, [{"t", 0x10}])
      assert {:publish, 0x31, "t", nil, "kept", []} = V5.recv_packet(client)
      V5.subscribed(client, [{"t", 0x00}])
      assert {:publish, 0x31, "t", nil, "kept", []} = V5.recv_packet(client)
    end

    test "that were to be sent are, though the subscription is replaced by one that asks for none [MQTT-3.3.1-10]" do
      {name, port} = broker()
      for n <- 1..300, do: Broker.publish(name, "t/#{n}", "#{n}", %{qos: 1, retain: true})
      client = V5.connected(port, "client")
      send_bytes(client, [V5.subscribe(1, [{"t/#", 0}]), V5.subscribe(2, [{"t/#", 0x21}])])
      assert {:suback, 1, [0], _} = V5.recv_packet(client)

      # The other SUBACK is somewhere among them.
      packets =
        for _ <- 1..301 do
          packet = V5.recv_packet(client)

          with {:publish, _, _, id, _, _} when id != nil <- packet,
               do: send_bytes(client, <<0x40, 2, id::16>>)

          packet
        end

      assert [{:suback, 2, [1], _}] = for({:suback, _, _, _} = suback <- packets, do: suback)
      payloads = for {:publish, _, _, _, payload, _} <- packets, do: payload
      assert payloads |> Enum.map(&String.to_integer/1) |> Enum.sort() == Enum.to_list(1..300)
    end

    test "are not sent any more behind UNSUBACK" do
      {name, port} = broker(max_session_messages: 10)
      for n <- 1..100, do: Broker.publish(name, "t/#{n}", "#{n}", %{qos: 1, retain: true})
      client = V5.connected(port, "client", 0x02, [], <<0x21, 2::16>>)
      send_bytes(client, V5.subscribe(1, [{"t/#", 1}]))
      assert {:suback, 1, [1], _} = V5.recv_packet(client)
      ids = for _ <- 1..2, do: elem(V5.recv_packet(client), 3)
      send_bytes(client, V5.unsubscribe(2, ["t/#"]))
      assert {:unsuback, 2, [0], _} = V5.recv_packet(client)
      # What was put into the session before may come.
      assert acknowledge(client, ids, 0) < 10
    end

    # Until there is nothing more.
    defp acknowledge(client, ids, count) do
      for id <- ids, do: send_bytes(client, <<0x40, 2, id::16>>)
      send_bytes(client, [V5.subscribe(3, [{"other", 0}]), <<0xC0, 0>>])

      more =
        Stream.repeatedly(fn -> V5.recv_packet(client) end)
        |> Enum.take_while(&(&1 != :pingresp))
        |> Enum.filter(&(elem(&1, 0) == :publish))

      case for {:publish, _, _, id, _, _} <- more, do: id do
        [] when ids == [] -> count
        ids -> acknowledge(client, ids, count + length(ids))
      end
    end

    test "are looked for once at a time, however often a client subscribes" do
      {name, port} = broker(max_session_messages: 2)
      for t <- ["a", "b"], do: Broker.publish(name, t, "x", %{qos: 1, retain: true})
      client = V5.connected(port, "client", 0x02, [], <<0x21, 1::16>>)
      for n <- 1..200, do: send_bytes(client, V5.subscribe(n, [{"+", 1}]))
      # One is sent, and not acknowledged.
      packets = for _ <- 1..201, do: V5.recv_packet(client)
      assert Enum.count(packets, &(elem(&1, 0) == :publish)) == 1
      [pid] = for %{client_id: "client", pid: pid} <- Broker.clients(name), do: pid

      # Each time it waits for twice as long.
      1 = :erlang.trace(pid, true, [:receive])
      assert_receive {:trace, ^pid, :receive, {MQTT.Broker.Connection, :retained, first}}, 5_000
      assert_receive {:trace, ^pid, :receive, {MQTT.Broker.Connection, :retained, second}}, 5_000
      assert second == min(2 * first, 1_000)

      # A process that is suspended keeps what its timers send. Ours is set behind them, for longer.
      :ok = :sys.suspend(pid)
      _ = Process.send_after(self(), :all_have_come, 1_100)
      assert_receive :all_have_come, 5_000
      {:messages, messages} = Process.info(pid, :messages)
      assert Enum.count(messages, &match?({MQTT.Broker.Connection, :retained, _}, &1)) == 1
      :ok = :sys.resume(pid)
    end

    test "are due to the session, whichever connections it has" do
      {name, port} = broker(max_session_messages: 50)
      for n <- 1..200, do: Broker.publish(name, "t/#{n}", "#{n}", %{qos: 1, retain: true})
      connect = fn -> elem(resume(port, <<0x21, 10::16>>), 0) end
      client = connect.()
      send_bytes(client, V5.subscribe(1, [{"t/#", 1}]))
      assert {:suback, 1, [1], _} = V5.recv_packet(client)

      # Half of the connections are taken over, the others end.
      {client, payloads} =
        for turn <- 1..20, reduce: {client, []} do
          {client, payloads} ->
            more = take(client, 5)
            if rem(turn, 2) == 0, do: close(client)
            {connect.(), more ++ payloads}
        end

      take_all(client, Enum.uniq(payloads), 200)
    end

    test "stay due to a client that another with its identifier could not take the place of" do
      {name, port} = broker(max_session_messages: 10)
      for n <- 1..50, do: Broker.publish(name, "t/#{n}", "#{n}", %{qos: 1, retain: true})
      {client, 0} = resume(port, <<0x21, 10::16>>)
      send_bytes(client, V5.subscribe(1, [{"t/#", 1}]))
      assert {:suback, 1, [1], _} = V5.recv_packet(client)
      # What CONNACK says is too large for it.
      other = open(port)
      send_bytes(other, V5.connect(0x02, ["client"], <<0x27, 3::32>>))
      recv_all(other)
      take_all(client, [], 50)
    end

    test "are due to no session that has begun anew" do
      {name, port} = broker(max_session_messages: 10)
      for n <- 1..100, do: Broker.publish(name, "t/#{n}", "#{n}", %{qos: 1, retain: true})
      {client, 0} = resume(port, <<0x21, 1::16>>)
      V5.subscribed(client, [{"t/#", 1}])
      close(client)
      client = V5.connected(port, "client", 0x02, [], <<0x11, 60::32>>)
      assert_open(client)
      close(client)
      {client, 1} = resume(port, <<>>)
      assert_open(client)
      assert %{queued: 0} = Broker.info(name, "client").session
    end

    test "are put into the session before what is published later" do
      {name, port} = broker()
      Broker.publish(name, "retained", "first", %{qos: 1, retain: true})
      {client, 0} = resume(port, <<0x21, 1::16>>)
      V5.subscribed(client, [{"live", 1}])
      for n <- 1..10, do: Broker.publish(name, "live", "#{n}", %{qos: 1})
      send_bytes(client, V5.subscribe(2, [{"retained", 1}]))
      Residue.eventually(fn -> assert %{queued: 10} = Broker.info(name, "client").session end)
      Broker.publish(name, "live", "last", %{qos: 1})
      assert client |> take(12) |> Enum.take(-2) == ["first", "last"]
    end

    test "find room one by one where others take more than half of it" do
      {name, port} = broker(max_session_messages: 10)
      for n <- 1..3, do: Broker.publish(name, "retained/#{n}", "#{n}", %{qos: 1, retain: true})
      {client, 0} = resume(port, <<0x21, 1::16>>)
      V5.subscribed(client, [{"live", 1}])
      for n <- 1..7, do: Broker.publish(name, "live", "#{n}", %{qos: 1})
      send_bytes(client, V5.subscribe(2, [{"retained/#", 1}]))

      Residue.eventually(fn ->
        assert %{inflight: 1, queued: 9} = Broker.info(name, "client").session
      end)
    end

    # The client with a session, whose properties of CONNECT these are besides, and whether there was one.
    defp resume(port, properties) do
      client = open(port)
      send_bytes(client, V5.connect(0x00, ["client"], <<0x11, 60::32>> <> properties))
      {:connack, present, 0, _} = V5.recv_packet(client)
      {client, present}
    end

    # The payloads of so many messages, which are acknowledged.
    defp take(client, count), do: for(_ <- 1..count, do: take_one(client))

    defp take_one(client) do
      case V5.recv_packet(client) do
        {:publish, _, _, id, payload, _} ->
          send_bytes(client, <<0x40, 2, id::16>>)
          payload

        {:suback, _, _, _} ->
          take_one(client)
      end
    end

    # So many different ones come with those that have come.
    defp take_all(client, payloads, count) do
      if length(payloads) < count,
        do: take_all(client, Enum.uniq([take_one(client) | payloads]), count)
    end

    test "that are large are all sent to a client that reads slowly" do
      {name, port} = broker(max_queue_bytes: 100_000)
      payload = :crypto.strong_rand_bytes(20_000)
      for n <- 1..60, do: Broker.publish(name, "t/#{n}", payload, %{retain: true})
      client = open(port, recbuf: 4_096)
      send_bytes(client, V4.connect(0x02, ["client"]))
      assert recv(client) == <<0x20, 2, 0, 0>>
      V4.subscribed(client, [{"t/#", 0}])
      topics = for _ <- 1..60, do: elem(V4.recv_publish(client), 1)
      assert length(Enum.uniq(topics)) == 60
    end

    test "are all sent, however few the client takes at a time" do
      {name, port} = broker(max_session_messages: 50)
      for n <- 1..700, do: Broker.publish(name, "t/#{n}", "#{n}", %{qos: 1, retain: true})
      client = V5.connected(port, "client", 0x02, [], <<0x21, 10::16>>)
      V5.subscribed(client, [{"t/#", 1}], <<0x0B, 9>>)

      found =
        for {0x33, payload} <- V5.recv_acknowledged(client, 700), do: String.to_integer(payload)

      assert Enum.sort(found) == Enum.to_list(1..700)
    end

    test "expire, and have what is left of their time" do
      {name, port} = broker()

      Broker.publish(name, "t", "kept", %{
        retain: true,
        properties: %{message_expiry_interval: 100}
      })

      client = V5.connected(port, "client")
      V5.subscribed(client, [{"t", 0}])
      assert {:publish, 0x31, "t", nil, "kept", [{0x02, left}]} = V5.recv_packet(client)
      assert left in 90..100

      Broker.publish(name, "t", "kept", %{retain: true, properties: %{message_expiry_interval: 0}})

      assert Enum.to_list(Broker.retained(name, "t")) == []
      eventually(fn -> Broker.stats(name).retained == 0 end)
    end

    test "beyond the limit are refused" do
      {name, port} = broker(max_retained_messages: 1)
      client = V5.connected(port, "client")
      assert V5.publish_fully(client, 0x33, "a", 1, "x") == 0x10
      assert V5.publish_fully(client, 0x33, "b", 2, "x") == 0x97
      assert V5.publish_fully(client, 0x33, "a", 3, "y") == 0x10
      assert [%Message{topic: "a", payload: "y"}] = Enum.to_list(Broker.retained(name, "#"))
    end

    test "are gone with the next one, also if there is no room for that [MQTT-3.3.1-7]" do
      {name, port} = broker(max_retained_bytes: 1_000)
      client = V5.connected(port, "client")
      assert V5.publish_fully(client, 0x33, "t", 1, "old") == 0x10
      assert V5.publish_fully(client, 0x33, "t", 2, String.duplicate("x", 2_000)) == 0x97
      assert Enum.to_list(Broker.retained(name, "t")) == []
    end

    test "that are newer than a subscription are sent because they match, and not once more" do
      {router, session} = {Router.new(), Session.new()}

      retain = fn topic, value ->
        Router.publish(router, topic, value, %{retain: true, qos: 1})
      end

      retain.("a", "old")
      retain.("b", "old")
      {:new, cursor} = Router.subscribe(router, session, "+", %{qos: 1})
      retain.("b", "new")
      retain.("c", "new")
      assert %{queued: 2} = Session.info(session)
      assert [%Message{topic: "a"}] = router |> Router.retained("+", cursor) |> Enum.to_list()
      assert {:replaced, cursor} = Router.subscribe(router, session, "+", %{qos: 1})
      assert [_, _, _] = router |> Router.retained("+", cursor) |> Enum.to_list()
    end

    test "come once, and never behind a newer one of their topic" do
      {name, port} = broker()
      topics = for n <- 1..200, do: "r/#{n}"

      retain = fn value ->
        for t <- topics, do: Broker.publish(name, t, value, %{retain: true})
      end

      retain.("0")

      publisher =
        Task.async(fn ->
          Stream.iterate(1, &(&1 + 1))
          |> Enum.find(fn value ->
            retain.("#{value}")
            stop?()
          end)
        end)

      for n <- 1..20 do
        client = V4.connected(port, "#{n}")
        send_bytes(client, V4.subscribe(1, [{"r/#", 0}]))

        Enum.reduce(1..2_000, %{}, fn _, values ->
          case MQTT.Packet.decode(recv(client), 4) do
            {:ok, %{type: :publish, topic: topic, payload: payload}, ""} ->
              value = String.to_integer(payload)
              assert value > Map.get(values, topic, -1)
              Map.put(values, topic, value)

            {:ok, %{type: :suback}, ""} ->
              values
          end
        end)

        close(client)
      end

      send(publisher.pid, :stop)
      Task.await(publisher)
    end
  end

  defp stop? do
    receive do
      :stop -> true
    after
      0 -> false
    end
  end
end
