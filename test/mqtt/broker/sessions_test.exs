defmodule MQTT.Broker.SessionsTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Message, Router, Session}
  alias MQTT.Test.{BrokerRules, V4, V5}

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

      assert Enum.map(V5.recv_acknowledged(client, 101), &elem(&1, 1)) ==
               for(n <- 1..101, do: "#{n}")
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

    test "end when they have been left for as long as they may, whatever their clients hope" do
      {name, port} = broker(max_session_expiry_interval: 1)
      close(V4.connected(port, "3.1.1", 0x00))
      connect = V5.connect(0x02, ["5.0"], V5.expiry(60))
      assert {client, {:connack, 0, 0, properties}} = V5.try_connect(port, connect)
      assert {0x11, 1} in properties
      # DISCONNECT cannot make it longer.
      other = V5.connected(port, "other", 0x02, [], V5.expiry(1))
      for client <- [client, other], do: send_bytes(client, V5.reason(0xE0, 0, V5.expiry(60)))
      eventually(fn -> not Broker.info(name, "other").connected end)
      assert Broker.info(name, "other").session.expiry_interval == 1
      assert {_, {:connack, 0, 0, short}} = V5.try_connect(port, V5.connect(0x02, ["short"]))
      refute List.keymember?(short, 0x11, 0)
      assert Broker.info(name, "3.1.1").session.expiry_interval == 1
      eventually(fn -> Enum.map(Broker.clients(name), & &1.client_id) == ["short"] end)
    end

    test "have a filter once, whether it is a shared subscription in the client's version or not" do
      {name, port} = broker()

      subscriptions = fn ->
        {Broker.stats(name).subscriptions, length(Broker.subscriptions(name, "client"))}
      end

      close(V4.subscribed(V4.connected(port, "client", 0x00), [{"$share/g/a", 1}]))
      gone(name, "client")
      client = V5.resumed(port, "client")
      V5.subscribed(client, [{"$share/g/a", 1}])
      assert subscriptions.() == {1, 1}
      close(client)
      gone(name, "client")
      client = V4.resumed(port, "client")
      V4.subscribed(client, [{"$share/g/a", 1}])
      assert subscriptions.() == {1, 1}
      close(client)
      gone(name, "client")
      client = V5.resumed(port, "client")
      send_bytes(client, V5.unsubscribe(1, ["$share/g/a"]))
      assert {:unsuback, 1, [0], _} = V5.recv_packet(client)
      assert subscriptions.() == {0, 0}
    end

    test "are deleted, unless their client is connected" do
      {name, port} = broker()
      client = V4.subscribed(V4.connected(port, "client", 0x00), [{"t", 1}])
      refute Broker.delete_session(name, "client")
      refute Broker.delete_session(name, "nobody")
      assert Broker.disconnect(name, "client")
      assert_closed(client)
      eventually(fn -> Broker.delete_session(name, "client") end)
      assert Broker.clients(name) == []
      assert %{sessions: 0, subscriptions: 0} = Broker.stats(name)
      refute Broker.delete_session(name, "client")
      close(V5.with_session(port, "client"))
      eventually(fn -> Broker.delete_session(name, "client") end)
      # Its timer finds nothing, nor does it find the next one.
      V5.with_session(port, "client")
      assert %{connected: true} = Broker.info(name, "client")
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

    test "are taken over while a message of QoS 2 goes to many, whom it reaches once" do
      {name, port} = broker()
      router = Broker.Context.get!(name).router

      # More than one call delivers to.
      sessions =
        for _ <- 1..3000 do
          session = Session.new()
          {:new, _} = Router.subscribe(router, session, "t", %{qos: 2})
          session
        end

      for n <- 1..10 do
        first = open(port)
        send_bytes(first, [V4.connect(0x00, ["client"]), V4.publish(0x34, "t", n, "x")])
        assert <<0x20, 2, _, 0>> = recv(first)
        second = open(port)
        send_bytes(second, V4.connect(0x00, ["client"]))
        assert <<0x20, 2, _, 0>> = recv(second)
        assert V4.publish_fully(second, 0x3C, "t", n, "x")
        close(second)
        close(first)
        eventually(fn -> Enum.all?(sessions, &(Session.info(&1).queued >= n)) end)
        assert Enum.all?(sessions, &(Session.info(&1).queued == n))
      end
    end

    test "are taken over by a second connection, and stay then" do
      {name, port} = broker()
      first = V5.with_session(port, "client")
      V5.subscribed(first, [{"t", 1}])
      second = V5.resumed(port, "client")
      V5.assert_ended(first, [0x8E])
      Broker.publish(name, "t", "x", %{qos: 1})
      assert V5.recv_acknowledged(second, 1) == [{0x32, "x"}]
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
      assert V5.recv_acknowledged(second, 1) == [{0x32, "y"}]
      assert %{connected: true} = Broker.info(name, "client")
    end

    defmodule StuckBehind do
      @behaviour MQTT.Broker.Handler

      @impl true
      def handle_publish(client, message, test), do: Stuck.handle_publish(client, message, test)

      @impl true
      defdelegate handle_event(event, client, test), to: MQTT.Test.BrokerPauses
    end

    test "are taken over from one that is stuck by one that is let in late" do
      {name, port} = broker(handler: {StuckBehind, self()}, takeover_timeout: 20)
      first = V5.with_session(port, "client")
      send_bytes(first, V5.publish("t", "x"))
      assert_receive :stuck
      %{session: %{connection: stuck}, pid: stuck} = Broker.info(name, "client")
      monitor = Process.monitor(stuck)
      second = open(port)
      send_bytes(second, V5.connect(0x00, ["client"], V5.expiry(0)))
      assert_receive {:resumed, pid}
      # Longer than it has to wait, and while it has the session.
      refute_receive {:DOWN, ^monitor, _, _, _}, 100
      send(pid, :go_on)
      assert {:connack, 1, 0, _} = V5.recv_packet(second)
      assert_receive {:DOWN, ^monitor, _, _, :killed}
      close(second)
      eventually(fn -> Broker.clients(name) == [] end)
    end

    test "taken over or not, lose no will when the process of their connection is killed" do
      {name, port} = broker()
      subscriber = V5.subscribed(V5.connected(port, "subscriber"), [{"will", 1}])

      for {delay, back?, published?} <- [
            {0, false, true},
            {1, false, true},
            {0, true, true},
            {60, true, false}
          ] do
        will = V5.will("will", "gone", <<0x18, delay::32>>)
        client = V5.connected(port, "client", 0x0E, [will], V5.expiry(60))
        Process.exit(Broker.info(name, "client").session.connection, :kill)
        assert_closed(client)
        client = if back?, do: V5.resumed(port, "client")

        if published?,
          do: assert(V5.recv_acknowledged(subscriber, 1) == [{0x32, "gone"}]),
          else: V5.assert_nothing(subscriber, V5.connected(port, "publisher"))

        if client, do: close(client)
      end
    end

    test "belong to the user that has made them" do
      {_, port} = broker(handler: BrokerRules)
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
      assert V5.recv_acknowledged(subscriber, 1) == [{0x32, "gone"}]
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
end
