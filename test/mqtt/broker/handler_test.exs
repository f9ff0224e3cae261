defmodule MQTT.Broker.HandlerTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Message}
  alias MQTT.Test.{BrokerPauses, BrokerRules, V4, V5}

  describe "a handler" do
    test "decides about clients, subscriptions and messages" do
      {_, port} = broker(handler: BrokerRules)
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

    defmodule Wrong do
      # Answers with what the test gives.
      @behaviour MQTT.Broker.Handler

      @impl true
      def authenticate(%{client_id: "out"}, answer), do: answer
      def authenticate(_client, _answer), do: :ok
      @impl true
      def authorize_publish(_client, _message, answer), do: answer
      @impl true
      def authorize_subscribe(_client, _filter, _options, answer), do: answer
    end

    test "may give any reason, also where the specification has another [MQTT-3.9.3-2]" do
      {_, port} = broker(handler: {Wrong, {:error, :message_rate_too_high}})
      client = V5.connected(port, "in")
      send_bytes(client, V5.subscribe(1, [{"a", 0}]))
      assert {:suback, 1, [0x80], _} = V5.recv_packet(client)
      for qos <- 1..2, do: assert(V5.publish_fully(client, "a", qos, "x") == 0x80)
      assert_open(client)
    end

    defmodule Numbers do
      @behaviour MQTT.Broker.Handler

      @impl true
      def authenticate(_client, _test), do: {:error, 0x87}
      @impl true
      def handle_event(event, _client, test), do: send(test, event)
    end

    test "may give a number of MQTT 5.0, which others are told as theirs" do
      {_, port} = broker(handler: {Numbers, self()})
      client = open(port)
      send_bytes(client, V4.connect(0x02, ["a"]))
      assert recv_all(client) == <<0x20, 2, 0, 5>>
      assert {_, {:connack, 0, 0x87, _}} = V5.try_connect(port, V5.connect(0x02, ["a"]))
      for _ <- 1..2, do: assert_receive({:refused, :not_authorized})
    end

    @tag :capture_log
    test "is told when it answers with what is no answer" do
      for answer <- [false, {:ok, 3}, {:error, :whatever}, {:error, 1}, {:error, :success}] do
        {name, port} = broker(handler: {Wrong, answer})

        for {callback, packet} <- [
              {"authorize_publish/3", V5.publish("a", "x")},
              {"authorize_subscribe/4", V5.subscribe(1, [{"a", 0}])}
            ] do
          client = V5.connected(port, "in")
          pid = Broker.info(name, "in").pid
          monitor = Process.monitor(pid)
          # Behind CONNACK it may read what comes without having looked at its signals.
          _ = :sys.get_state(pid)
          send_bytes(client, packet)
          assert_receive {:DOWN, ^monitor, _, _, {%ArgumentError{message: message}, _}}, 5_000
          assert message =~ "#{callback} of #{inspect(Wrong)} must return `:ok`"
          assert message =~ "got: #{inspect(answer)}"
        end
      end

      for answer <- [false, {:error, :success}, {:error, 5}, {:ok, nil, 1}] do
        {_, port} = broker(handler: {Wrong, answer})
        client = open(port)
        send_bytes(client, V5.connect(0x02, ["out"]))
        assert :gen_tcp.recv(client.socket, 0, 5_000) == {:error, :closed}
      end
    end

    test "may take its time while a session is resumed, to which the former connection brings back nothing" do
      acl = Path.join(System.tmp_dir!(), "acl-#{System.unique_integer([:positive])}")
      on_exit(fn -> File.rm(acl) end)
      File.write!(acl, "topic a\ntopic b\n")
      {name, port} = broker(handler: {BrokerPauses, self()}, acl_file: acl)
      former = V5.subscribed(V5.with_session(port, "client"), [{"a", 1}, {"b", 1}])
      File.write!(acl, "topic b\n")
      :ok = Broker.reload(name)
      client = open(port)
      send_bytes(client, V5.connect(0x00, ["client"], V5.expiry(60)))
      assert_receive {:resumed, connection}
      V5.subscribed(former, [{"a", 1}])
      Broker.publish(name, "a", "x", qos: 1)
      send(connection, :go_on)
      assert {:connack, 1, 0, _} = V5.recv_packet(client)
      for topic <- ["a", "b"], do: Broker.publish(name, topic, "y", qos: 1)
      # Sent before to the former connection, or not at all.
      payloads = for _ <- 1..2, do: V5.recv_packet(client)
      assert [_, {:publish, 0x32, "b", _, "y", _}] = payloads
      assert [{"b", _}] = Broker.subscriptions(name, "client")
    end

    defmodule Names do
      @behaviour MQTT.Broker.Handler

      @impl true
      def authenticate(_client, _args), do: {:continue, %{}, nil}

      @impl true
      def handle_auth(_client, properties, _args), do: {:ok, nil, properties.authentication_data}
    end

    test "says who the user is, to whom a session belongs [MQTT-3.1.2-4]" do
      directory = System.tmp_dir!()
      acl = Path.join(directory, "acl-#{System.unique_integer([:positive])}")
      File.write!(acl, "user alice\ntopic secret\nuser bob\ntopic open\n")
      {name, port} = broker(handler: Names, acl_file: acl)
      File.rm!(acl)
      method = <<0x15, 0, 1, "M">>
      as = fn user -> [method, <<0x16, byte_size(user)::16>>, user] end

      connect = fn user ->
        client = open(port)
        send_bytes(client, V5.connect(0x00, ["client"], [method, V5.expiry(60)]))
        assert {:auth, 0x18, _} = V5.recv_packet(client)
        send_bytes(client, V5.reason(0xF0, 0x18, as.(user)))
        {client, V5.recv_packet(client)}
      end

      assert {alice, {:connack, 0, 0, _}} = connect.("alice")
      send_bytes(alice, V5.subscribe(1, [{"secret", 0}, {"open", 0}]))
      assert {:suback, 1, [0, 0x87], _} = V5.recv_packet(alice)
      assert %{username: "alice"} = Broker.info(name, "client")
      send_bytes(alice, V5.reason(0xF0, 0x19, as.("bob")))
      assert {:disconnect, 0x87, _} = V5.recv_packet(alice)
      gone(name, "client")
      assert {_, {:connack, 0, 0x85, _}} = connect.("bob")
      assert {_, {:connack, 1, 0, _}} = connect.("alice")
    end

    defmodule Listens do
      @behaviour MQTT.Broker.Handler

      @impl true
      def handle_event(event, client, test), do: send(test, {client.client_id, event})
    end

    test "is told what happens" do
      {name, port} = broker(handler: {Listens, self()})
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
      V5.connected(port, "b")
      # Until the broker watches it.
      eventually(fn -> Broker.Sessions.connected(Broker.Context.get!(name)) == 1 end)
      Process.exit(Broker.info(name, "b").session.connection, :kill)
      assert_receive {"b", {:disconnected, :killed}}
      assert_receive {"b", :session_ended}
    end

    test "is told whom the broker has refused" do
      path = Path.join(System.tmp_dir!(), "passwords-#{System.unique_integer([:positive])}")
      on_exit(fn -> File.rm(path) end)

      :ok = Broker.Passwords.create(path, "roger", "secret", iterations: 101)
      :ok = Broker.Passwords.put(path, "anna", "secret", iterations: 101)

      {_, port} = broker(handler: {Listens, self()}, password_file: path)
      V5.connected(port, "a", 0xC2, ["roger", "secret"], V5.expiry(60))
      assert_receive {"a", {:connected, :new}}

      for {user, password, reason} <- [
            {"roger", "wrong", :bad_user_name_or_password},
            {"anna", "secret", :client_identifier_not_valid}
          ] do
        V5.try_connect(port, V5.connect(0xC2, ["a", user, password]))
        assert_receive {"a", {:refused, ^reason}}
      end

      refute_received {"a", _}
    end

    test "is told that a client has ended that CONNACK was too large for [MQTT-3.1.2-24]" do
      {_, port} = broker(handler: {Listens, self()})
      client = open(port)
      send_bytes(client, V5.connect(0x06, ["a", V5.will("will", "gone")], <<0x27, 5::32>>))
      assert_closed(client)
      assert_receive {"a", {:connected, :new}}
      assert_receive {"a", {:disconnected, {:shutdown, {:protocol_error, :packet_too_large}}}}
      refute_received {"a", {:will_published, _}}
    end

    defmodule Revokes do
      @behaviour MQTT.Broker.Handler

      # The table has what nobody may get any more.
      @impl true
      def authorize_delivery(%{client_id: "client"}, message, table) do
        if :ets.member(table, message.payload), do: {:error, :not_authorized}, else: :ok
      end

      def authorize_delivery(_client, _message, _table), do: :ok
    end

    test "is asked again when a message is sent: at once, after an absence, or a retained one" do
      table = :ets.new(:revoked, [:public])
      {name, port} = broker(handler: {Revokes, table})
      client = V5.with_session(port, "client")
      V5.subscribed(client, [{"t/#", 2}])
      other = V5.subscribed(V5.connected(port, "other"), [{"t/#", 1}])
      :ets.insert(table, {"2"})
      publish = fn n, qos -> Broker.publish(name, "t/#{n}", "#{n}", %{qos: qos, retain: true}) end
      for n <- 1..3, do: {:ok, :success, 2} = publish.(n, 1)
      assert V5.recv_acknowledged(client, 2) == [{0x32, "1"}, {0x32, "3"}]
      assert V5.recv_acknowledged(other, 3) == for(n <- ~w(1 2 3), do: {0x32, n})
      for n <- 2..3, do: {:ok, :success, 2} = publish.(n, 0)
      assert {:publish, 0x30, "t/3", nil, "3", []} = V5.recv_packet(client)
      close(client)
      gone(name, "client")
      for n <- 4..200, do: {:ok, :success, 2} = publish.(n, 1)
      for n <- 5..199, do: :ets.insert(table, {"#{n}"})
      client = V5.resumed(port, "client")
      assert V5.recv_acknowledged(client, 2) == [{0x32, "4"}, {0x32, "200"}]
      V5.subscribed(client, [{"t/+", 0}])
      kept = for _ <- 1..4, do: elem(V5.recv_packet(client), 4)
      assert Enum.sort(kept) == ~w(1 200 3 4)
      assert_open(client)
    end

    defmodule Counts do
      @behaviour MQTT.Broker.Handler

      @impl true
      def message_events(_test), do: [:delivered, :dropped, :retained]

      @impl true
      def handle_event({kind, %Message{} = message}, client, test),
        do: send(test, {client.client_id, kind, message.qos, message.payload})

      def handle_event({:dropped, %Message{payload: payload}, reason}, client, test),
        do: send(test, {client.client_id, reason, payload})

      def handle_event(_event, _client, _test), do: :ok
    end

    test "is told of messages, if it wants to be" do
      {name, port} = broker(handler: {Counts, self()}, max_session_messages: 2)
      client = V5.with_session(port, "client")
      V5.subscribed(client, [{"t", 2}])
      publisher = V5.connected(port, "publisher")
      send_bytes(publisher, V5.publish(0x31, "t", "a"))
      assert_receive {"publisher", :retained, 0, "a"}
      assert {:publish, 0x30, "t", nil, "a", []} = V5.recv_packet(client)
      assert_receive {"client", :delivered, 0, "a"}
      assert V5.publish_fully(publisher, 0x34, "t", 1, "b") == 0
      assert {:publish, 0x34, "t", id, "b", []} = V5.recv_packet(client)
      refute_received {"client", :delivered, 2, "b"}
      send_bytes(client, <<0x50, 2, id::16>>)
      assert_receive {"client", :delivered, 2, "b"}
      assert {:pubrel, ^id, 0, _} = V5.recv_packet(client)
      send_bytes(client, <<0x70, 2, id::16>>)
      # It does not want it.
      assert V5.publish_fully(publisher, "t", 1, "c") == 0
      assert {:publish, 0x32, "t", id, "c", []} = V5.recv_packet(client)
      send_bytes(client, <<0x40, 3, id::16, 0x97>>)
      assert_receive {"client", {:refused, :quota_exceeded}, "c"}
      send_bytes(publisher, V5.publish(0x31, "t", ""))
      assert_receive {"publisher", :retained, 0, ""}
      assert {:publish, 0x30, "t", nil, "", []} = V5.recv_packet(client)
      close(client)
      gone(name, "client")
      for n <- 1..3, do: {:ok, :success, 1} = Broker.publish(name, "t", "#{n}", %{qos: 1})
      client = V5.resumed(port, "client")
      assert_receive {"client", :queue_full, "3"}
      assert V5.recv_acknowledged(client, 2) == [{0x32, "1"}, {0x32, "2"}]
      assert_receive {"client", :delivered, 1, "2"}
      close(client)
      gone(name, "client")
      Broker.publish(name, "t", "4", %{qos: 1})
      V5.connected(port, "client")
      assert_receive {"client", :discarded, "4"}
    end

    test "is asked about a will as well" do
      {_, port} = broker(handler: BrokerRules)
      user = ["roger", "secret"]
      subscriber = V5.connected(port, "subscriber", 0xC2, user)
      V5.subscribed(subscriber, [{"denied/#", 0}, {"will", 0}])
      close(V5.connected(port, "1", 0xC6, [V5.will("denied", "x") | user]))
      close(V5.connected(port, "2", 0xC6, [V5.will("will", "y") | user]))
      assert {:publish, 0x30, "will", nil, "y", []} = V5.recv_packet(subscriber)
    end
  end
end
