defmodule MQTT.Broker.HandlerTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Message}
  alias MQTT.Test.{BrokerRules, V5}

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
      # The broker watches it by now.
      assert Broker.Sessions.connected(Broker.Context.get!(name)) == 1
      Process.exit(Broker.info(name, "b").session.connection, :kill)
      assert_receive {"b", {:disconnected, :killed}}
      assert_receive {"b", :session_ended}
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
