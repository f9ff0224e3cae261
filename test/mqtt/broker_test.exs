defmodule MQTT.BrokerTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]
  doctest MQTT.Broker
  doctest MQTT.Router
  doctest MQTT.Broker.ACL

  alias MQTT.{Broker, Message, Router, Session}
  alias MQTT.Test.{V4, V5}

  # Messages of QoS 1 as they come, each acknowledged.
  defp take(client, count) do
    for _ <- 1..count//1 do
      {:publish, first, _, id, payload, _} = V5.recv_packet(client)
      if id, do: send_bytes(client, <<0x40, 2, id::16>>)
      {first, payload}
    end
  end

  describe "messages" do
    test "have the lower of the two QoS, in each version" do
      {_, port} = broker()
      subscriber = V5.connected(port, "five")
      V5.subscribed(subscriber, [{"0", 0}, {"1", 1}, {"2", 2}])
      old = V4.subscribed(V4.connected(port, "four"), [{"+", 1}])
      publisher = V5.connected(port, "publisher")

      for {topic, granted} <- [{"0", 0}, {"1", 1}, {"2", 2}], qos <- 0..2 do
        first = 0x30 + 2 * qos
        payload = "#{topic} #{qos}"

        if qos == 0,
          do: send_bytes(publisher, V5.publish(first, topic, payload)),
          else: assert(V5.publish_fully(publisher, first, topic, 1, payload) == 0)

        expected = 0x30 + 2 * min(qos, granted)
        assert {:publish, ^expected, ^topic, id, ^payload, []} = V5.recv_packet(subscriber)

        case min(qos, granted) do
          0 ->
            :ok

          1 ->
            send_bytes(subscriber, <<0x40, 2, id::16>>)

          2 ->
            send_bytes(subscriber, <<0x50, 2, id::16>>)
            assert {:pubrel, ^id, 0, _} = V5.recv_packet(subscriber)
            send_bytes(subscriber, <<0x70, 2, id::16>>)
        end

        expected = 0x30 + 2 * min(qos, 1)
        assert {^expected, ^topic, id, ^payload} = V4.recv_publish(old)
        if id, do: send_bytes(old, <<0x40, 2, id::16>>)
      end
    end

    test "come to the publisher as well, but not with No Local" do
      {_, port} = broker()
      client = V5.connected(port, "client")
      V5.subscribed(client, [{"a", 0}, {"b", 0x04}])
      send_bytes(client, [V5.publish("b", "local"), V5.publish("a", "mine")])
      assert recv(client) == V5.publish("a", "mine")
      other = V5.connected(port, "other")
      send_bytes(other, V5.publish("b", "theirs"))
      assert recv(client) == V5.publish("b", "theirs")
    end

    test "come once through overlapping subscriptions, with all identifiers" do
      {_, port} = broker()
      client = V5.connected(port, "client")
      V5.subscribed(client, [{"a/+", 0}], <<0x0B, 1>>)
      V5.subscribed(client, [{"a/b", 1}], <<0x0B, 2>>)
      V5.subscribed(client, [{"#", 0}])
      publisher = V5.connected(port, "publisher")
      assert V5.publish_fully(publisher, "a/b", 1, "x") == 0
      assert {:publish, 0x32, "a/b", 1, "x", identifiers} = V5.recv_packet(client)
      assert Enum.sort(identifiers) == [{0x0B, 1}, {0x0B, 2}]
      send_bytes(publisher, V5.publish("c", "y"))
      assert recv(client) == V5.publish("c", "y")
    end

    test "keep their properties, and their topic when it was an alias" do
      {_, port} = broker()
      old = V4.subscribed(V4.connected(port, "four"), [{"t", 0}])
      client = V5.subscribed(V5.connected(port, "five"), [{"t", 0}])
      publisher = V5.connected(port, "publisher")
      unit = V5.user_property("unit", "°C")
      send_bytes(publisher, V5.publish(0x30, "t", nil, "1", [<<0x23, 7::16>>, unit]))
      send_bytes(publisher, V5.publish(0x30, "", nil, "2", [<<0x23, 7::16>>]))
      assert V5.recv_packet(client) == {:publish, 0x30, "t", nil, "1", [{0x26, {"unit", "°C"}}]}
      assert V5.recv_packet(client) == {:publish, 0x30, "t", nil, "2", []}
      assert recv(old) == V4.publish("t", "1")
      assert recv(old) == V4.publish("t", "2")
    end

    test "with nobody to go to say so, and those to reserved topics are refused" do
      {_, port} = broker()
      client = V5.connected(port, "client")
      assert V5.publish_fully(client, "nobody", 1, "x") == 0x10
      assert V5.publish_fully(client, 0x34, "nobody", 2, "x") == 0x10

      for topic <- ["$SYS", "$SYS/broker/uptime", "$share/a/b"],
          do: assert(V5.publish_fully(client, topic, 3, "x") == 0x87)
    end

    test "are handled in their order with other packets, however they come" do
      {_, port} = broker()
      client = V5.connected(port, "client")

      send_bytes(client, [
        V5.publish(0x32, "a", 1, "before"),
        V5.subscribe(2, [{"a", 0}]),
        V5.publish(0x32, "a", 3, "between"),
        <<0xC0, 0>>,
        V5.unsubscribe(4, ["a"]),
        V5.publish(0x32, "a", 5, "behind"),
        <<0xE0, 0>>
      ])

      packets = client |> recv_all() |> V5.packets()
      assert {:publish, 0x30, "a", nil, "between", []} in packets

      assert List.delete(packets, {:publish, 0x30, "a", nil, "between", []}) == [
               {:puback, 1, 0x10, []},
               {:suback, 2, [0], []},
               {:puback, 3, 0, []},
               :pingresp,
               {:unsuback, 4, [0], []},
               {:puback, 5, 0x10, []}
             ]
    end

    test "of two clients to each other all arrive, in their order" do
      {_, port} = broker()
      count = 3_000

      clients =
        for name <- ["a", "b"] do
          client = V4.connected(port, name)
          V4.subscribed(client, [{name, 0}])
          client
        end

      [a, b] = clients
      test = self()

      for {client, other} <- [{a, "b"}, {b, "a"}] do
        spawn_link(fn ->
          for n <- 1..count, do: send_bytes(client, V4.publish(other, "#{n}"))
          send(test, :sent)
        end)
      end

      for {client, name} <- [{a, "a"}, {b, "b"}] do
        expected = for n <- 1..count, into: "", do: V4.publish(name, "#{n}")
        assert recv_bytes(client, byte_size(expected)) == expected
      end

      for _ <- clients, do: assert_receive(:sent)
    end

    test "reach all connected subscribers, also if the publisher goes at once" do
      {_, port} = broker()
      payload = :binary.copy("x", 5_000)

      subscribers =
        for n <- 1..150, do: V4.subscribed(V4.connected(port, "subscriber #{n}"), [{"t", 0}])

      client = V5.connected(port, "client")
      send_bytes(client, [V5.publish("t", payload), V5.publish("t", payload), <<0xE0, 0>>])
      assert_closed(client)
      packet = V4.publish("t", payload)

      for subscriber <- subscribers,
          do: assert(recv_bytes(subscriber, 2 * byte_size(packet)) == packet <> packet)

      # So much that one call delivers only a part, also where the client breaks the protocol behind it.
      client = V5.connected(port, "client")
      send_bytes(client, [for(_ <- 1..3, do: V5.publish("t", payload)), <<0x00, 0x00>>])
      V5.assert_ended(client, [0x81])
      packets = String.duplicate(packet, 3)

      for subscriber <- subscribers,
          do: assert(recv_bytes(subscriber, byte_size(packets)) == packets)
    end

    test "that are large come as they went" do
      {_, port} = broker()
      client = V4.subscribed(V4.connected(port, "client"), [{"t", 1}])
      publisher = V4.connected(port, "publisher")
      payload = :crypto.strong_rand_bytes(300_000)
      V4.publish_fully(publisher, "t", 1, payload)
      assert {0x32, "t", 1, ^payload} = V4.recv_publish(client)
    end

    test "to more sessions than one call does reach them all, and are acknowledged in order" do
      {name, port} = broker()
      router = MQTT.Broker.Context.get!(name).router
      sessions = for _ <- 1..3_000, do: Session.new()
      for session <- sessions, do: :new = Router.subscribe(router, session, "t", %{qos: 1})
      client = V5.connected(port, "client")
      send_bytes(client, [for(n <- 1..3, do: V5.publish(0x32, "t", n, "#{n}")), <<0xE0, 0>>])
      packets = client |> recv_all() |> V5.packets()
      assert packets == for(n <- 1..3, do: {:puback, n, 0, []})
      for session <- sessions, do: assert(Session.info(session).queued == 3)
      assert Broker.publish(name, "t", "4", %{qos: 1}) == {:ok, :success, 3_000}
      for session <- sessions, do: assert(Router.leave(router, session) == 1)
      eventually(fn -> match?(%{subscriptions: 0, sessions: 0}, Broker.stats(name)) end)
    end
  end

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
      found = for {0x33, payload} <- take(client, 700), do: String.to_integer(payload)
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
  end

  describe "shared subscriptions" do
    test "share messages evenly among those who are connected" do
      {_, port} = broker()

      workers =
        for n <- 1..3 do
          worker = V5.connected(port, "worker #{n}")
          V5.subscribed(worker, [{"$share/g/t", 0}])
        end

      publisher = V5.connected(port, "publisher")
      for n <- 1..30, do: send_bytes(publisher, V5.publish("t", "#{n}"))
      got = for worker <- workers, do: for(_ <- 1..10, do: elem(V5.recv_packet(worker), 4))
      assert got |> List.flatten() |> Enum.sort() == Enum.sort(for n <- 1..30, do: "#{n}")
    end

    test "can have members that publish to their own group" do
      {_, port} = broker()
      test = self()

      workers =
        for n <- 1..2 do
          worker = V5.connected(port, "worker #{n}")
          V5.subscribed(worker, [{"$share/g/t", 0}])
        end

      for worker <- workers do
        spawn_link(fn ->
          for n <- 1..50, do: send_bytes(worker, V5.publish(0x32, "t", n, "#{n}"))
          types = Stream.repeatedly(fn -> elem(V5.recv_packet(worker), 0) end)
          # What a worker gets is not known before.
          Enum.reduce_while(types, 0, fn type, got ->
            send(test, type)
            if got == 150, do: {:halt, got}, else: {:cont, got + 1}
          end)
        end)
      end

      for _ <- 1..100, do: assert_receive(:puback)
      for _ <- 1..100, do: assert_receive(:publish)
    end

    test "go to a member that is offline only when nobody is there" do
      {name, port} = broker()
      offline = V5.with_session(port, "offline")
      V5.subscribed(offline, [{"$share/g/t", 1}])
      close(offline)
      eventually(fn -> not Broker.info(name, "offline").connected end)
      online = V5.subscribed(V5.connected(port, "online"), [{"$share/g/t", 1}])
      for n <- 1..5, do: Broker.publish(name, "t", "#{n}", %{qos: 1})
      assert Enum.map(take(online, 5), &elem(&1, 1)) == ~w(1 2 3 4 5)
      close(online)
      eventually(fn -> Broker.info(name, "online") == nil end)
      Broker.publish(name, "t", "6", %{qos: 1})
      assert take(V5.resumed(port, "offline"), 1) == [{0x32, "6"}]
    end

    test "give a message that was not acknowledged to another member when the session ends" do
      {name, port} = broker()
      first = V5.with_session(port, "first", <<0x21, 2::16>>)
      V5.subscribed(first, [{"$share/g/t", 2}])

      # Two are sent, and two wait.
      for {n, qos} <- [{1, 1}, {2, 2}, {3, 1}, {4, 2}],
          do: Broker.publish(name, "t", "#{n}", %{qos: qos})

      for n <- 1..2 do
        payload = "#{n}"
        assert {:publish, _, "t", _, ^payload, _} = V5.recv_packet(first)
      end

      second = V5.subscribed(V5.connected(port, "second"), [{"$share/g/t", 1}])
      send_bytes(first, V5.reason(0xE0, 0, V5.expiry(0)))
      assert_closed(first)
      # That of QoS 2 is nobody else's [MQTT-4.8.2-5].
      assert Enum.map(take(second, 3), &elem(&1, 1)) == ["1", "3", "4"]
      eventually(fn -> Broker.info(name, "first") == nil end)
      Broker.publish(name, "t", "5", %{qos: 1})
      assert Enum.map(take(second, 1), &elem(&1, 1)) == ["5"]
    end

    test "give all that waits, however much it is" do
      {name, port} = broker()
      first = V5.subscribed(V5.with_session(port, "first"), [{"$share/g/t", 1}])
      close(first)
      eventually(fn -> not Broker.info(name, "first").connected end)
      padding = :binary.copy("x", 1_000)
      for n <- 1..1_500, do: Broker.publish(name, "t", "#{n} #{padding}", %{qos: 1})
      second = V5.subscribed(V5.connected(port, "second"), [{"$share/g/t", 1}])
      first = V5.connected(port, "first")
      messages = take(second, 1_500)
      numbers = for {0x32, payload} <- messages, do: payload |> String.split() |> hd()
      assert numbers == for(n <- 1..1_500, do: "#{n}")
      assert_open(first)
    end

    test "are filters like others before MQTT 5.0, to which nobody can publish" do
      {name, port} = broker()
      V4.subscribed(V4.connected(port, "client"), [{"$share/g/t", 0}])
      assert Broker.publish(name, "t", "x") == {:ok, :no_matching_subscribers, 0}
    end
  end

  describe "sessions" do
    test "keep messages of QoS 1 and 2 in their order until the client is back" do
      {name, port} = broker()
      client = V5.with_session(port, "client")
      V5.subscribed(client, [{"t", 1}])
      close(client)
      eventually(fn -> not Broker.info(name, "client").connected end)
      publisher = V5.connected(port, "publisher")
      for n <- 1..100, do: V5.publish_fully(publisher, "t", n, "#{n}")
      # A message of QoS 0 is not kept.
      send_bytes(publisher, V5.publish("t", "0"))
      assert_open(publisher)
      assert Broker.info(name, "client").session.queued == 100
      client = V5.resumed(port, "client")
      send_bytes(publisher, V5.publish(0x32, "t", 1, "101"))
      assert Enum.map(take(client, 101), &elem(&1, 1)) == for(n <- 1..101, do: "#{n}")
    end

    test "that are not acknowledged are sent again, with DUP" do
      {name, port} = broker()
      client = V5.with_session(port, "client")
      V5.subscribed(client, [{"t", 1}])
      Broker.publish(name, "t", "x", %{qos: 1})
      assert {:publish, 0x32, "t", id, "x", []} = V5.recv_packet(client)
      close(client)
      client = V5.resumed(port, "client")
      assert {:publish, 0x3A, "t", ^id, "x", []} = V5.recv_packet(client)
    end

    test "begin anew with Clean Start, without their subscriptions" do
      {name, port} = broker()
      client = V5.with_session(port, "client")
      V5.subscribed(client, [{"t", 1}, {"u", 1}])
      close(client)
      client = V5.connected(port, "client")
      assert Broker.publish(name, "t", "x", %{qos: 1}) == {:ok, :no_matching_subscribers, 0}
      assert Broker.subscriptions(name, "client") == []
      assert %{subscriptions: 0} = Broker.stats(name)
      assert_open(client)
    end

    test "end with the connection, or later, and nothing of them stays" do
      {name, port} = broker()
      client = V5.connected(port, "now")
      V5.subscribed(client, [{"t", 0}])
      later = V5.connected(port, "later", 0x02, [], V5.expiry(1))
      V5.subscribed(later, [{"t", 0}])
      close(client)
      close(later)
      eventually(fn -> Broker.info(name, "now") == nil end)
      eventually(fn -> not Broker.info(name, "later").connected end)
      eventually(fn -> Broker.clients(name) == [] end)
      eventually(fn -> match?(%{sessions: 0, subscriptions: 0}, Broker.stats(name)) end)
    end

    test "end also when the process of their connection is killed" do
      {name, port} = broker()
      client = V4.subscribed(V4.connected(port, "client"), [{"t", 0}])
      Process.exit(Broker.info(name, "client").session.connection, :kill)
      assert_closed(client)
      eventually(fn -> Broker.clients(name) == [] end)
      eventually(fn -> match?(%{sessions: 0, subscriptions: 0}, Broker.stats(name)) end)
    end

    test "keep so many subscriptions as they may, and no further one is made" do
      {name, port} = broker(max_session_subscriptions: 2)
      client = V5.connected(port, "client")
      send_bytes(client, V5.subscribe(1, [{"a", 0}, {"b", 0}, {"c", 0}, {"a", 1}]))
      assert {:suback, 1, [0, 0, 0x97, 1], _} = V5.recv_packet(client)
      assert %{subscriptions: 2} = Broker.stats(name)
      assert {:ok, :no_matching_subscribers, 0} = Broker.publish(name, "c", "x")
    end

    test "are so many as there may be, and further clients are refused" do
      {_, port} = broker(max_sessions: 1)
      client = V5.connected(port, "a")
      assert {_, {:connack, 0, 0x97, _}} = V5.try_connect(port, V5.connect(0x02, ["b"]))
      assert {_, <<0x20, 2, 0, 3>>} = V4.try_connect(port, V4.connect(0x02, ["b"]))
      assert_open(client)
    end

    test "do not end with a connection that could not take them" do
      {name, port} = broker()
      client = V5.subscribed(V5.connected(port, "client"), [{"t", 0}])
      # It takes no CONNACK.
      small = open(port)
      send_bytes(small, V5.connect(0x02, ["client"], <<0x27, 3::32>>))
      recv_all(small)
      assert_open(client)
      assert {:ok, :success, 1} = Broker.publish(name, "t", "x")
      assert recv(client) == V5.publish("t", "x")
      assert %{connected: true} = Broker.info(name, "client")
      close(client)
      eventually(fn -> Broker.clients(name) == [] end)
    end

    test "are taken over from a client that publishes, without harm" do
      {name, port} = broker()
      subscriber = V4.subscribed(V4.connected(port, "subscriber"), [{"t", 0}])

      for n <- 1..20 do
        client = open(port)
        messages = for m <- 1..50, do: V4.publish("t", "#{n} #{m}")
        send_bytes(client, [V4.connect(0x00, ["client"]), messages])
      end

      send_bytes(V4.connected(port, "last"), V4.publish("t", "end"))

      payloads =
        Stream.repeatedly(fn -> elem(V4.recv_publish(subscriber), 3) end)
        |> Enum.take_while(&(&1 != "end"))

      # Those of one connection come in their order, without a gap.
      for {_, of_one} <- Enum.group_by(payloads, &hd(String.split(&1))) do
        numbers = for payload <- of_one, do: payload |> String.split() |> List.last()
        assert numbers == Enum.take(for(m <- 1..50, do: "#{m}"), length(numbers))
      end

      assert_open(V4.connected(port, "another"))
      assert %{connected: true} = Broker.info(name, "client")
    end

    test "are taken over by a second connection, and stay then" do
      {name, port} = broker()
      first = V5.with_session(port, "client")
      V5.subscribed(first, [{"t", 1}])
      second = V5.resumed(port, "client")
      V5.assert_ended(first, [0x8E])
      Broker.publish(name, "t", "x", %{qos: 1})
      assert take(second, 1) == [{0x32, "x"}]
      # The end of the first one does not end it.
      assert %{connected: true} = Broker.info(name, "client")
      third = V5.connected(port, "client")
      V5.assert_ended(second, [0x8E])
      assert_open(third)
    end

    defmodule Stuck do
      @behaviour MQTT.Broker.Handler

      @impl true
      def handle_publish(_client, _message, test) do
        send(test, :stuck)
        Process.sleep(:infinity)
      end
    end

    test "are taken over from a connection that is stuck, which is ended" do
      {name, port} = broker(handler: {Stuck, self()}, takeover_timeout: 50)
      first = V5.with_session(port, "client")
      send_bytes(first, V5.publish("t", "x"))
      assert_receive :stuck
      second = V5.resumed(port, "client")
      assert_closed(first)
      V5.subscribed(second, [{"t", 1}])
      Broker.publish(name, "t", "y", %{qos: 1})
      assert take(second, 1) == [{0x32, "y"}]
      assert %{connected: true} = Broker.info(name, "client")
    end

    test "belong to the user that has made them" do
      {_, port} = broker(handler: MQTT.BrokerTest.Rules)
      client = V5.connected(port, "client", 0xC2, ["roger", "secret"], V5.expiry(60))
      close(client)
      connect = V5.connect(0xC0, ["client", "other", "secret"])
      assert {_, {:connack, 0, 0x85, _}} = V5.try_connect(port, connect)
      connect = V5.connect(0xC0, ["client", "roger", "secret"])
      assert {_, {:connack, 1, 0, _}} = V5.try_connect(port, connect)
    end

    test "of one client that comes many times at once are one" do
      {name, port} = broker()

      clients =
        for n <- 1..40 do
          client = open(port)
          send_bytes(client, [V4.connect(0x00, ["client"]), V4.subscribe(1, [{"t/#{n}", 0}])])
          client
        end

      for client <- Enum.reverse(clients), do: close(client)
      eventually(fn -> match?([%{connected: false}], Broker.clients(name)) end)
      assert %{sessions: 1} = Broker.stats(name)
    end
  end

  describe "a will" do
    test "is published when the connection breaks, retained if it says so" do
      {name, port} = broker()
      subscriber = V5.subscribed(V5.connected(port, "subscriber"), [{"will", 1}])
      client = V5.connected(port, "client", 0x2E, [V5.will("will", "gone")])
      close(client)
      assert take(subscriber, 1) == [{0x32, "gone"}]
      assert [%Message{payload: "gone"}] = Enum.to_list(Broker.retained(name, "will"))
    end

    test "is not published after DISCONNECT" do
      {_, port} = broker()
      subscriber = V5.subscribed(V5.connected(port, "subscriber"), [{"will", 1}])
      client = V5.connected(port, "client", 0x06, [V5.will("will", "gone")])
      send_bytes(client, <<0xE0, 0>>)
      assert_closed(client)
      V5.assert_nothing(subscriber, V5.connected(port, "publisher"))
    end
  end

  describe "clients" do
    test "need a password where there is a file, or come from this machine" do
      path = Path.join(System.tmp_dir!(), "passwords-#{System.unique_integer([:positive])}")
      on_exit(fn -> File.rm(path) end)
      :ok = Broker.Passwords.create(path, "roger", "secret", iterations: 101)
      {_, port} = broker(password_file: path)
      V5.connected(port, "good", 0xC2, ["roger", "secret"])

      for connect <- [
            V5.connect(0xC2, ["bad", "roger", "wrong"]),
            V5.connect(0xC2, ["bad", "other", "secret"])
          ],
          do: assert({_, {:connack, 0, 0x86, _}} = V5.try_connect(port, connect))

      assert {_, {:connack, 0, 0x87, _}} = V5.try_connect(port, V5.connect(0x02, ["anonymous"]))
    end

    test "may do what the ACL file says, by a handler or natively" do
      path = Path.join(System.tmp_dir!(), "acl-#{System.unique_integer([:positive])}")
      on_exit(fn -> File.rm(path) end)

      File.write!(path, """
      topic read all/#
      user roger
      topic readwrite all/#
      topic deny all/secret
      pattern readwrite own/%c/#
      """)

      for options <- [[anonymous: true], [handler: MQTT.BrokerTest.Rules]] do
        {_, port} = broker([acl_file: path] ++ options)
        client = V5.connected(port, "client", 0xC2, ["roger", "secret"])
        filters = for filter <- ["all/+/x", "all/#", "own/client/#", "own/+/a"], do: {filter, 0}
        send_bytes(client, V5.subscribe(1, filters))
        assert {:suback, 1, [0, 0x87, 0, 0x87], _} = V5.recv_packet(client)
        assert V5.publish_fully(client, "all/a", 1, "x") == 0x10
        assert V5.publish_fully(client, "all/secret", 1, "x") == 0x87
        assert V5.publish_fully(client, "own/other/a", 1, "x") == 0x87
        send_bytes(client, V5.publish("own/other/a", "no"))
        send_bytes(client, V5.publish("own/client/a", "yes"))
        assert recv(client) == V5.publish("own/client/a", "yes")

        # A will as well.
        for {id, topic} <- [{"1", "own/client/will"}, {"2", "all/b/x"}] do
          will = V5.will(topic, "gone")
          close(V5.connected(port, id, 0xC6, [will, "roger", "secret"]))
        end

        assert {:publish, 0x30, "all/b/x", nil, "gone", []} = V5.recv_packet(client)
      end
    end

    test "without an identifier get one" do
      {name, port} = broker()
      {_client, <<0x20, 2, 0, 0>>} = V4.try_connect(port, V4.connect(0x02, [""]))
      {_client, {:connack, 0, 0, properties}} = V5.try_connect(port, V5.connect(0x02, [""]))
      {0x12, id} = List.keyfind(properties, 0x12, 0)
      assert %{connected: true} = Broker.info(name, id)
      assert length(Broker.clients(name)) == 2
    end

    test "are known, and can be disconnected" do
      {name, port} = broker()
      client = V5.subscribed(V5.connected(port, "client"), [{"a/+", 1}])
      assert [{"client", "a/+", %{qos: 1}}] = Enum.to_list(Broker.subscriptions(name))
      assert [{"a/+", %{qos: 1}}] = Broker.subscriptions(name, "client")
      assert %{protocol_version: 5, peer: {{127, 0, 0, 1}, _}} = Broker.info(name, "client")
      assert Broker.disconnect(name, "client", :administrative_action)
      V5.assert_ended(client, [0x98])
      eventually(fn -> not Broker.disconnect(name, "client") end)
    end

    test "are told when the broker stops" do
      {name, port} = broker()
      client = V5.connected(port, "client")
      :ok = stop_supervised!({Broker, name})
      V5.assert_ended(client, [0x8B])
    end
  end

  describe "a process" do
    test "gets what it has subscribed to, and what is retained" do
      {name, port} = broker()
      Broker.publish(name, "kept", "1", %{retain: true, qos: 1})
      assert Broker.subscribe(name, "#", %{qos: 2}) == :ok
      assert_receive {:mqtt, ^name, %Message{topic: "kept", retain: true, qos: 1}}
      client = V5.connected(port, "client")
      unit = V5.user_property("unit", "°C")
      send_bytes(client, V5.publish(0x33, "a", 1, "2", unit))
      assert_receive {:mqtt, ^name, %Message{topic: "a", payload: "2", qos: 1} = message}
      assert %Message{retain: false, properties: %{user_property: [{"unit", "°C"}]}} = message
      assert {:puback, 1, 0, []} = V5.recv_packet(client)
      assert Broker.unsubscribe(name, "#")
      refute Broker.unsubscribe(name, "#")
      assert V5.publish_fully(client, "a", 2, "3") == 0x10
      assert_raise ArgumentError, ~r/no topic filter/, fn -> Broker.subscribe(name, "a#") end
    end

    test "that does not read loses what is too much, and its end ends its subscriptions" do
      {name, _} = broker(max_process_messages: 5)
      test = self()

      slow =
        spawn_link(fn ->
          :ok = Broker.subscribe(name, "t")
          send(test, :subscribed)
          receive do: (:stop -> :ok)
        end)

      assert_receive :subscribed
      for n <- 1..20, do: assert({:ok, :success, 1} = Broker.publish(name, "t", "#{n}"))
      eventually(fn -> Broker.dropped(name, slow) == 15 end)
      send(slow, :stop)
      eventually(fn -> Broker.stats(name).subscriptions == 0 end)
    end
  end

  test "$SYS says what mosquitto's says" do
    {_, port} = broker(sys_interval: 50)
    client = V5.connected(port, "client")
    V5.subscribed(client, [{"$SYS/broker/clients/#", 0}])
    topics = for _ <- 1..3, do: elem(V5.recv_packet(client), 2)

    assert Enum.sort(topics) ==
             for(name <- ~w(connected disconnected total), do: "$SYS/broker/clients/#{name}")
  end

  defmodule Rules do
    @behaviour MQTT.Broker.Handler

    @impl true
    def authenticate(%{username: _, password: "secret"}, []), do: {:ok, :data}
    def authenticate(_client, []), do: {:error, :bad_user_name_or_password}

    @impl true
    def authorize_publish(%{data: :data} = client, message, []) do
      refute_password(client)
      if message.topic == "denied", do: {:error, :not_authorized}, else: :ok
    end

    @impl true
    def authorize_subscribe(_client, "denied", _options, []), do: {:error, :not_authorized}
    def authorize_subscribe(_client, "low", _options, []), do: {:ok, 0}
    def authorize_subscribe(_client, _filter, _options, []), do: :ok

    @impl true
    def handle_publish(_client, %{topic: "drop"}, []), do: :drop
    def handle_publish(_client, %{topic: "refuse"}, []), do: {:error, :payload_format_invalid}

    def handle_publish(client, %{topic: "change"} = message, []),
      do: {:ok, %{message | topic: "changed", payload: client.client_id <> message.payload}}

    def handle_publish(_client, _message, []), do: :ok

    defp refute_password(client), do: false = is_map_key(client, :password)
  end

  describe "a handler" do
    test "decides about clients, subscriptions and messages" do
      {_, port} = broker(handler: Rules)
      assert {_, {:connack, 0, 0x86, _}} = V5.try_connect(port, V5.connect(0x02, ["bad"]))
      client = V5.connected(port, "client", 0xC2, ["roger", "secret"])

      filters =
        for {filter, qos} <- [{"denied", 1}, {"low", 2}, {"changed", 1}, {"drop", 1}],
            do: {filter, qos}

      send_bytes(client, V5.subscribe(1, filters))
      assert {:suback, 1, [0x87, 0, 1, 1], _} = V5.recv_packet(client)
      assert V5.publish_fully(client, "denied", 1, "x") == 0x87
      assert V5.publish_fully(client, "refuse", 1, "x") == 0x99
      assert V5.publish_fully(client, "drop", 1, "x") == 0
      send_bytes(client, V5.publish("change", " says x"))
      assert {:publish, 0x30, "changed", nil, "client says x", []} = V5.recv_packet(client)
    end

    defmodule Asks do
      @behaviour MQTT.Broker.Handler

      @impl true
      def authenticate(%{properties: %{authentication_method: "M"}}, test),
        do: {:continue, %{authentication_data: "?"}, test}

      def authenticate(_client, _test), do: :ok

      @impl true
      def handle_auth(%{data: test}, %{authentication_data: "!"} = properties, test) do
        send(test, properties.reason)
        {:ok, test}
      end

      def handle_auth(_client, _properties, _test), do: {:error, :not_authorized}
    end

    test "authenticates in several steps" do
      {name, port} = broker(handler: {Asks, self()})
      method = <<0x15, 0, 1, "M">>
      data = fn data -> [method, <<0x16, 0, 1>>, data] end

      for {answer, code} <- [{"!", 0}, {"x", 0x87}] do
        client = open(port)
        send_bytes(client, V5.connect(0x02, ["client"], method))
        assert {:auth, 0x18, properties} = V5.recv_packet(client)
        assert {0x16, "?"} in properties
        send_bytes(client, V5.reason(0xF0, 0x18, data.(answer)))
        assert {:connack, 0, ^code, _} = V5.recv_packet(client)

        if code == 0 do
          assert_receive :continue_authentication
          assert %{connected: true} = Broker.info(name, "client")
          send_bytes(client, V5.reason(0xF0, 0x19, data.("!")))
          assert {:auth, 0, _} = V5.recv_packet(client)
          assert_receive :re_authenticate
        end
      end

      {_, port} = broker()
      connect = V5.connect(0x02, ["client"], method)
      assert {_, {:connack, 0, 0x8C, _}} = V5.try_connect(port, connect)
    end

    defmodule Listens do
      @behaviour MQTT.Broker.Handler

      @impl true
      def handle_event(event, client, test), do: send(test, {client.client_id, event})
    end

    test "is told what happens" do
      {_, port} = broker(handler: {Listens, self()})
      client = V5.connected(port, "a", 0x06, [V5.will("will", "gone")], V5.expiry(60))
      assert_receive {"a", {:connected, :new}}
      V5.subscribed(client, [{"t", 1}])
      assert_receive {"a", {:subscribed, "t", %{qos: 1}}}
      send_bytes(client, V5.unsubscribe(1, ["t"]))
      assert_receive {"a", {:unsubscribed, "t"}}
      second = V5.resumed(port, "a")
      assert_receive {"a", {:connected, :resumed}}
      assert_receive {"a", {:disconnected, {:shutdown, :session_taken_over}}}
      assert_receive {"a", {:will_published, %Message{topic: "will", payload: "gone"}}}
      close(second)
      assert_receive {"a", {:disconnected, {:shutdown, :closed}}}
      third = V5.connected(port, "a")
      assert_receive {"a", {:connected, :discarded}}
      send_bytes(third, <<0xE0, 0>>)
      assert_receive {"a", {:disconnected, :normal}}
      assert_receive {"a", :session_ended}
    end

    test "is asked about a will as well" do
      {_, port} = broker(handler: Rules)
      user = ["roger", "secret"]
      subscriber = V5.connected(port, "subscriber", 0xC2, user)
      V5.subscribed(subscriber, [{"denied/#", 0}, {"will", 0}])
      close(V5.connected(port, "1", 0xC6, [V5.will("denied", "x") | user]))
      close(V5.connected(port, "2", 0xC6, [V5.will("will", "y") | user]))
      assert {:publish, 0x30, "will", nil, "y", []} = V5.recv_packet(subscriber)
    end
  end

  describe "options" do
    test "that are wrong are named" do
      for {options, sentence} <- [
            {[anonymous: :maybe], ~r/option :anonymous of MQTT.Broker must be/},
            {[shared_subscriptions: :random], ~r/option :shared_subscriptions of MQTT.Router/},
            {[prot: 1883], ~r/unknown option :prot of MQTT.Listener/},
            {[port: -1], ~r/option :port of MQTT.Listener/},
            {[listeners: [[port: :x]]], ~r/option :port of MQTT.Listener/},
            {[handler: No.Such], ~r/option :handler of MQTT.Broker/}
          ] do
        assert_raise ArgumentError, sentence, fn -> Broker.start_link(options) end
      end
    end

    test "can have further listeners" do
      {name, _} = broker(listeners: [[port: 0, max_connections: 1]])
      assert [%{port: _}, %{port: port}] = Broker.listeners(name)
      V4.connected(port, "client")
    end
  end
end
