defmodule MQTT.Broker.ClientsTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]
  doctest MQTT.Broker
  doctest MQTT.Router
  doctest MQTT.Broker.ACL

  alias MQTT.{Broker, Message, Router, Session}
  alias MQTT.Test.{BrokerRules, V4, V5}

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

    test "need what the files say when they were read last" do
      [passwords, acl] =
        for kind <- ["passwords", "acl"] do
          path = Path.join(System.tmp_dir!(), "#{kind}-#{System.unique_integer([:positive])}")
          on_exit(fn -> File.rm(path) end)
          path
        end

      :ok = Broker.Passwords.create(passwords, "roger", "secret", iterations: 101)
      File.write!(acl, "user anna\ntopic a\n")
      {name, port} = broker(password_file: passwords, acl_file: acl)
      connect = V5.connect(0xC2, ["client", "anna", "secret"])
      assert {_, {:connack, 0, 0x86, _}} = V5.try_connect(port, connect)

      :ok = Broker.Passwords.put(passwords, "anna", "secret", iterations: 101)
      File.write!(acl, "user anna\ntopic b\nno line\n")
      assert {:error, sentence} = Broker.reload(name)
      assert sentence =~ acl and sentence =~ "line 3"
      assert {_, {:connack, 0, 0x86, _}} = V5.try_connect(port, connect)

      File.write!(acl, "user anna\ntopic b\n")
      assert Broker.reload(name) == :ok
      assert {client, {:connack, 0, 0, _}} = V5.try_connect(port, connect)
      send_bytes(client, V5.subscribe(1, [{"a", 0}, {"b", 0}]))
      assert {:suback, 1, [0x87, 0], _} = V5.recv_packet(client)
    end

    test "cannot have each message compared with ever more filters" do
      {name, port} = broker(max_sessions: 1_000)
      router = Broker.Context.get!(name).router
      session = MQTT.Session.new(max_session_subscriptions: 100_000)

      # All match one topic. The tests of the core say how many there may be.
      filter = fn shape ->
        Enum.map_join(
          13..0//-1,
          "/",
          &if(Bitwise.band(shape, Bitwise.bsl(1, &1)) > 0, do: "+", else: "a")
        )
      end

      refused =
        for shape <- 1..4_000,
            Router.subscribe(router, session, filter.(shape)) == {:error, :quota_exceeded},
            do: filter.(shape)

      assert length(refused) > 2_000

      assert MQTT.Session.subscriptions(session)
             |> Enum.map(&elem(&1, 0))
             |> Enum.all?(&(&1 not in refused))

      client = V5.connected(port, "client")
      send_bytes(client, V5.subscribe(1, [{hd(refused), 1}, {"+/+/+/+/+/a/a/a/a/a", 1}]))
      assert {:suback, 1, [0x97, 1], _} = V5.recv_packet(client)
      send_bytes(client, V5.subscribe(2, [{"$share/g/" <> hd(refused), 1}]))
      assert {:suback, 2, [0x97], _} = V5.recv_packet(client)
      assert Broker.subscribe(name, hd(refused)) == {:error, :quota_exceeded}

      assert Router.leave(router, session) == 4_000 - length(refused)
      send_bytes(client, V5.subscribe(3, [{hd(refused), 1}]))
      assert {:suback, 3, [1], _} = V5.recv_packet(client)
    end

    test "lose what they have subscribed to when they come back and may not any more" do
      acl = Path.join(System.tmp_dir!(), "acl-#{System.unique_integer([:positive])}")
      on_exit(fn -> File.rm(acl) end)
      File.write!(acl, "topic a/#\ntopic b\n")
      {name, port} = broker(acl_file: acl)
      client = V5.with_session(port, "client")
      filters = [{"a/#", 1}, {"a/1", 1}, {"b", 1}, {"$share/g/a/2", 1}]
      V5.subscribed(client, filters)
      close(client)
      gone(name, "client")
      member = Session.new()

      {:new, _} =
        Router.subscribe(Broker.Context.get!(name).router, member, "$share/g/a/2", qos: 1)

      for topic <- ["a/1", "b", "a/2", "a/2"], do: Broker.publish(name, topic, topic, qos: 1)
      File.write!(acl, "topic b\ntopic write a/#\n")
      :ok = Broker.reload(name)
      client = V5.resumed(port, "client")
      assert {:publish, 0x32, "b", id, "b", []} = V5.recv_packet(client)
      send_bytes(client, <<0x40, 2, id::16>>)
      Broker.publish(name, "a/1", "x", qos: 1)
      assert [{"b", _}] = Broker.subscriptions(name, "client")
      # All of the group's go to the other member.
      assert %{queued: 2} = Session.info(member)
      assert %{session: %{queued: 0}} = Broker.info(name, "client")
      assert_open(client)
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

      for options <- [[anonymous: true], [handler: BrokerRules]] do
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

    # They are many, and most are silent.
    test "have given back by then what CONNECT took" do
      {name, port} = broker()
      for flags <- [0x00, 0x02, 0x02], do: V5.connected(port, "client", flags)
      pid = Broker.info(name, "client").pid

      eventually(fn -> MQTT.Test.Residue.hibernates?(pid) end)
    end

    test "are told when the broker stops" do
      {name, port} = broker()
      client = V5.connected(port, "client")
      :ok = stop_supervised!({Broker, name})
      V5.assert_ended(client, [0x8B])
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

  test "$SYS counts what others have published" do
    {name, port} = broker(sys_interval: 20)
    client = V5.connected(port, "client")
    V5.subscribed(client, [{"$SYS/broker/uptime", 0}])
    for _ <- 1..3, do: V5.recv_packet(client)
    assert %{received: 0, sent: 0, retained: 10} = Broker.stats(name)
    Broker.publish(name, "a", "x")
    assert %{received: 1} = Broker.stats(name)
  end

  describe "options" do
    defmodule EventsOfNoKind do
      @behaviour MQTT.Broker.Handler

      @impl true
      def handle_event(_event, _client, _args), do: :ok
      @impl true
      def message_events(_args), do: [:other]
    end

    test "that are wrong are named" do
      for {options, sentence} <- [
            {[anonymous: :maybe], ~r/option :anonymous of MQTT.Broker must be/},
            {[shared_subscriptions: :random], ~r/option :shared_subscriptions of MQTT.Broker/},
            {[prot: 1883], ~r/unknown option :prot of MQTT.Broker; allowed are :name, .*:port/},
            {[id: 1], ~r/unknown option :id of MQTT.Broker/},
            {[listeners: [[handler: {X, []}]]],
             ~r/unknown option :handler of :listeners of MQTT.Broker/},
            {[anonymous: false], ~r/option :anonymous of MQTT.Broker is false/},
            {[password_file: "passwords", handler: BrokerRules],
             ~r/option :password_file of MQTT.Broker is for a :handler without authenticate/},
            {[port: -1], ~r/option :port of MQTT.Broker/},
            {[listeners: [[port: :x]]], ~r/option :port of MQTT.Broker/},
            {[max_retained_bytes: 0x8000_0000_0000_0000],
             ~r/option :max_retained_bytes of MQTT.Broker must be .* below 2\^63/},
            {[max_connections: 0x8000_0000_0000_0000],
             ~r/option :max_connections of MQTT.Broker must be .* below 2\^63/},
            {[connack: [server_keep_alive: 1]],
             ~r/option :connack of MQTT.Broker must be a map of properties of CONNACK/},
            {[connack: %{server_keep_alive: "long"}],
             ~r/option :connack of MQTT.Broker cannot have :server_keep_alive, or not with the value "long"/},
            {[connack: %{payload: 1}], ~r/option :connack of MQTT.Broker cannot have :payload/},
            {[connack: %{assigned_client_identifier: "x"}],
             ~r/option :connack of MQTT.Broker cannot have :assigned_client_identifier/},
            {[handler: {EventsOfNoKind, []}], ~r/message_events\/1 of .* must give a list/},
            {[handler: No.Such], ~r/option :handler of MQTT.Broker/},
            # It has no callback.
            {[handler: Broker], ~r/option :handler of MQTT.Broker/},
            {[takeover_timeout: 0x1_0000_0000], ~r/option :takeover_timeout of MQTT.Broker/},
            {[listeners: [[max_session_messages: 5]]],
             ~r/option :max_session_messages of MQTT.Broker is that of all listeners/}
          ] do
        assert_raise ArgumentError, sentence, fn -> Broker.start_link(options) end
      end
    end

    test "can have further listeners, the end of one of which is its own" do
      test = self()

      {name, _} =
        broker(listeners: [[port: 0, max_connections: 1, name: :"listener_#{inspect(test)}"]])

      assert [%{port: _}, %{port: port}] = Broker.listeners(name)
      client = V4.connected(port, "client")
      :ok = Broker.subscribe(name, "a")

      [first] =
        for pid <- listeners(name), pid != Process.whereis(:"listener_#{inspect(test)}"), do: pid

      Process.exit(first, :kill)
      eventually(fn -> length(listeners(name)) == 2 and first not in listeners(name) end)
      assert {:ok, :success, 1} = Broker.publish(name, "a", "x")
      assert_receive {:mqtt, ^name, %Message{topic: "a"}}
      send_bytes(client, <<0xC0, 0>>)
      assert recv(client) == <<0xD0, 0>>
    end

    defp listeners(name) do
      {_, services, _, _} =
        name |> Supervisor.which_children() |> List.keyfind(Broker.Services, 0)

      for {{MQTT.Listener, _}, pid, _, _} <- Supervisor.which_children(services),
          is_pid(pid),
          do: pid
    end
  end
end
