defmodule MQTT.Broker.MessagesTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Native, Router, Session}
  alias MQTT.Test.{V4, V5}

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

    test "do not go to a session that was emptied, and those of its group go to another" do
      router = Router.new()
      {one, other} = {Session.new(), Session.new()}

      for filter <- ["a", "$share/g/t"],
          do: {:new, _} = Router.subscribe(router, one, filter, %{qos: 1})

      {:ok, :success, 1} = Router.publish(router, "t", "x", %{qos: 1})
      {:new, _} = Router.subscribe(router, other, "$share/g/t", %{qos: 1})
      Session.clear(one)
      assert %{queued: 1} = Session.info(other)
      assert %{subscriptions: 1} = Router.info(router)
      assert {:ok, :no_matching_subscribers, 0} = Router.publish(router, "a", "x", %{qos: 1})
      assert {:new, _} = Router.subscribe(router, one, "a", %{qos: 1})
    end

    test "to more sessions than one call does do not go to one that comes meanwhile" do
      router = Router.new()
      sessions = for _ <- 1..3_000, do: Session.new()
      for session <- sessions, do: {:new, _} = Router.subscribe(router, session, "t", %{qos: 1})
      {:more, remaining} = Native.router_publish(router, nil, "t", "x", %{qos: 1})
      # It has the number of the one that leaves.
      1 = Router.leave(router, List.last(sessions))
      late = Session.new()
      {:new, _} = Router.subscribe(router, late, "other", %{qos: 1})
      assert {:ok, 0, 3_000} = continue(remaining)
      assert Enum.map(sessions, &Session.info(&1).queued) == List.duplicate(1, 2_999) ++ [0]
      assert %{queued: 0} = Session.info(late)
    end

    test "to more sessions than one call does do not go to one that is emptied meanwhile" do
      router = Router.new()
      sessions = for _ <- 1..3_000, do: Session.new()
      for session <- sessions, do: {:new, _} = Router.subscribe(router, session, "t", %{qos: 1})
      {:more, remaining} = Native.router_publish(router, nil, "t", "x", %{qos: 1})
      Session.clear(List.last(sessions))
      assert {:ok, 0, 3_000} = continue(remaining)
      assert Enum.map(sessions, &Session.info(&1).queued) == List.duplicate(1, 2_999) ++ [0]
    end

    test "do not go to a session that begins anew meanwhile [MQTT-3.1.2-4]" do
      {name, port} = broker()
      router = Broker.Context.get!(name).router
      clients = for id <- ["one", "two"], do: V4.connected(port, id)
      for client <- clients, do: V4.subscribed(client, [{"t", 1}])
      # A call writes it to one of them.
      message = :binary.copy("x", 600_000)
      {:more, remaining} = Native.router_publish(router, nil, "t", message, %{qos: 1})
      again = V4.connected(port, "two")
      assert {:ok, 0, 2} = continue(remaining)
      V4.assert_nothing(again, again)
      assert {0x32, "t", 1, ^message} = V4.recv_publish(hd(clients))
    end

    test "for a group go to another member when the session ends that was chosen [MQTT-4.5.0-1]" do
      {name, port} = broker()
      router = Broker.Context.get!(name).router
      client = V4.subscribed(V4.connected(port, "client"), [{"t", 1}])
      {one, other} = {Session.new(), Session.new()}
      group = "$share/g/t"

      for session <- [one, other],
          do: {:new, _} = Router.subscribe(router, session, group, qos: 1)

      # A call writes it to the client; the members take turns.
      left =
        for _ <- 1..2 do
          message = :binary.copy("x", 600_000)
          {:more, remaining} = Native.router_publish(router, nil, "t", message, %{qos: 1})
          remaining
        end

      1 = Router.leave(router, one)
      for remaining <- left, do: assert({:ok, 0, 2} = continue(remaining))
      assert %{queued: 2} = Session.info(other)
      for id <- 1..2, do: assert({0x32, "t", ^id, _} = V4.recv_publish(client))
    end

    test "of a client that takes itself over reach all once, and its places are free again" do
      {name, port} = broker()
      router = Broker.Context.get!(name).router
      sessions = for _ <- 1..2_000, do: Session.new()
      for session <- sessions, do: {:new, _} = Router.subscribe(router, session, "t", qos: 1)
      reader = V4.subscribed(V4.connected(port, "reader"), [{"t", 1}])

      for n <- 1..10 do
        client = V4.connected(port, "client")
        send_bytes(client, V4.publish(0x32, "t", 1, "#{n}"))
        # It has been read by then.
        send_bytes(client, <<0xC0, 0>>)
        if rem(n, 2) == 0, do: recv(client)
      end

      # Those that were read.
      eventually(fn -> Enum.all?(sessions, &(Session.info(&1).queued >= 5)) end)
      [queued] = sessions |> Enum.map(&Session.info(&1).queued) |> Enum.uniq()

      numbers =
        for _ <- 1..queued, do: reader |> V4.recv_publish() |> elem(3) |> String.to_integer()

      assert numbers == Enum.uniq(numbers)
      # That of the reader, and its last one.
      eventually(fn -> match?([%{connections: 2}], Broker.listeners(name)) end)
    end

    defp continue(remaining) do
      with {:more, remaining} <- Native.router_continue(remaining), do: continue(remaining)
    end

    test "to more sessions than one call does reach them all, and are acknowledged in order" do
      {name, port} = broker()
      router = MQTT.Broker.Context.get!(name).router
      sessions = for _ <- 1..3_000, do: Session.new()
      for session <- sessions, do: {:new, _} = Router.subscribe(router, session, "t", %{qos: 1})
      client = V5.connected(port, "client")
      send_bytes(client, [for(n <- 1..3, do: V5.publish(0x32, "t", n, "#{n}")), <<0xE0, 0>>])
      packets = client |> recv_all() |> V5.packets()
      assert packets == for(n <- 1..3, do: {:puback, n, 0, []})
      for session <- sessions, do: assert(Session.info(session).queued == 3)
      assert Broker.publish(name, "t", "4", %{qos: 1}) == {:ok, :success, 3_000}
      for session <- sessions, do: assert(Router.leave(router, session) == 1)
      eventually(fn -> match?(%{subscriptions: 0, sessions: 0}, Broker.stats(name)) end)
    end

    test "to more subscriptions than one call looks at come once, to those who had subscribed" do
      {name, port} = broker()
      router = MQTT.Broker.Context.get!(name).router
      sessions = for _ <- 1..20_000, do: Session.new()
      for session <- sessions, do: {:new, _} = Router.subscribe(router, session, "t", %{qos: 1})
      {twice, once} = Enum.split(sessions, 10_000)
      for session <- twice, do: {:new, _} = Router.subscribe(router, session, "+", %{qos: 2})

      assert {:more, remaining} = Native.router_publish(router, nil, "t", "1", %{qos: 2})
      [gone | twice] = twice
      assert Router.leave(router, gone) == 2
      # It has the number of the one that is gone, and the other its place among the subscribers.
      [late, moved] = [Session.new(), hd(once)]
      {:new, _} = Router.subscribe(router, late, "t", %{qos: 1})
      true = Router.unsubscribe(router, moved, "t")
      {:new, _} = Router.subscribe(router, moved, "t", %{qos: 1})
      assert continue(remaining) == {:ok, 0, 20_000}
      assert Session.info(late).queued == 0
      for session <- once ++ twice, do: assert(Session.info(session).queued == 1)
      assert Broker.stats(name).sent == 20_000

      # And by what a client publishes, which is answered behind it.
      client = V5.connected(port, "client")
      assert V5.publish_fully(client, "t", 1, "2") == 0
      for session <- [late | once ++ twice], do: assert(Session.info(session).queued >= 1)
      for session <- once ++ twice, do: assert(Session.info(session).queued == 2)
      assert Broker.stats(name).sent == 40_000
    end
  end
end
