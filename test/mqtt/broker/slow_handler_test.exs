defmodule MQTT.Broker.SlowHandlerTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Broker
  alias MQTT.Test.V5

  describe "a handler that takes long" do
    defmodule Waits do
      # Waits for the test where that has asked for it.
      @behaviour MQTT.Broker.Handler

      @impl true
      def handle_event({:connected, _} = event, _client, test), do: wait(event, test)
      def handle_event({:disconnected, _} = event, _client, test), do: send(test, event)
      def handle_event(_event, _client, _test), do: :ok

      @impl true
      def authorize_publish(_client, message, test), do: wait({:publish, message.payload}, test)

      defp wait(what, test) do
        send(test, {what, self()})
        receive do: (:go -> :ok)
      end
    end

    test "to hear of one does not give a former connection the session" do
      {_name, port} = broker(handler: {Waits, self()})
      former = open(port)
      send_bytes(former, V5.connect(0x02, ["client"]))
      assert_receive {{:connected, :new}, slow}
      client = open(port)
      send_bytes(client, V5.connect(0x02, ["client"]))
      assert_receive {{:connected, _}, pid}
      send(pid, :go)
      assert {:connack, 0, 0, _} = V5.recv_packet(client)
      send(slow, :go)
      assert {:connack, 0, 0x80, _} = V5.recv_packet(former)
      assert_closed(former)
      assert_receive {:disconnected, {:shutdown, :session_taken_over}}
      assert_open(client)
    end

    defmodule Lets do
      # Asks the test whether the client may come in.
      @behaviour MQTT.Broker.Handler

      @impl true
      def authenticate(%{username: name}, test) do
        send(test, {name, self()})
        receive do: (:go -> :ok)
      end

      @impl true
      def handle_event(event, _client, test), do: send(test, event)
    end

    test "to let one in does not let it take the session from one that came behind it" do
      {name, port} = broker(handler: {Lets, self()})
      former = open(port)
      send_bytes(former, V5.connect(0x82, ["client", "former"]))
      assert_receive {"former", slow}
      client = open(port)
      send_bytes(client, V5.connect(0x82, ["client", "former"]))
      assert_receive {"former", pid}
      send(pid, :go)
      assert {:connack, 0, 0, _} = V5.recv_packet(client)
      assert_receive {:connected, :new}
      send(slow, :go)
      assert {:connack, 0, 0x80, _} = V5.recv_packet(former)
      assert_closed(former)
      assert_receive {:refused, :unspecified_error}
      assert_open(client)
      assert %{connected: true, pid: ^pid} = Broker.info(name, "client")
    end

    test "does not publish a message of QoS 2 twice [MQTT-4.3.3-12]" do
      {name, port} = broker(handler: {Waits, self()})
      :ok = Broker.subscribe(name, "t", %{qos: 2})
      send_bytes(waited_for(port), V5.publish(0x34, "t", 7, "once"))
      assert_receive {{:publish, "once"}, slow}
      client = waited_for(port)
      send_bytes(client, V5.publish(0x3C, "t", 7, "once"))
      assert_receive {{:publish, "once"}, pid}
      send(pid, :go)
      assert {:pubrec, 7, _, _} = V5.recv_packet(client)
      goes_on(slow)
      assert_once(name, ["once"])
    end

    test "does not lose one either, which the client sends later [MQTT-4.3.3-8]" do
      {name, port} = broker(handler: {Waits, self()})
      :ok = Broker.subscribe(name, "t", %{qos: 2})
      send_bytes(waited_for(port), V5.publish(0x34, "t", 7, "once"))
      assert_receive {{:publish, "once"}, slow}
      client = waited_for(port)
      goes_on(slow)
      send_bytes(client, V5.publish(0x3C, "t", 7, "once"))
      assert_receive {{:publish, "once"}, pid}
      send(pid, :go)
      assert {:pubrec, 7, _, _} = V5.recv_packet(client)
      assert_once(name, ["once"])
    end

    test "does not have one come twice that is before it [MQTT-4.3.3-10]" do
      {name, port} = broker(handler: {Waits, self()})
      :ok = Broker.subscribe(name, "t", %{qos: 2})
      messages = [V5.publish(0x34, "t", 1, "first"), V5.publish(0x34, "t", 2, "second")]
      send_bytes(waited_for(port), messages)
      assert_receive {{:publish, "first"}, slow}
      send(slow, :go)
      assert_receive {{:publish, "second"}, ^slow}
      client = waited_for(port)
      send_bytes(client, V5.publish(0x3C, "t", 1, "first"))
      assert {:pubrec, 1, _, _} = V5.recv_packet(client)
      send_bytes(client, V5.publish(0x3C, "t", 2, "second"))
      assert_receive {{:publish, "second"}, pid}
      send(pid, :go)
      assert {:pubrec, 2, _, _} = V5.recv_packet(client)
      goes_on(slow)
      assert_once(name, ["first", "second"])
    end

    # A client with a session, which its handler has let in.
    defp waited_for(port) do
      client = open(port)
      send_bytes(client, V5.connect(0x00, ["client"], V5.expiry(60)))
      assert_receive {{:connected, _}, pid}
      send(pid, :go)
      assert {:connack, _, 0, _} = V5.recv_packet(client)
      client
    end

    defp goes_on(slow) do
      monitor = Process.monitor(slow)
      send(slow, :go)
      assert_receive {:DOWN, ^monitor, _, _, _}
    end

    # Nothing else has been published.
    defp assert_once(name, payloads) do
      Broker.publish(name, "t", "behind")

      for payload <- payloads ++ ["behind"] do
        assert_receive {:mqtt, ^name, message}
        assert message.payload == payload
      end
    end
  end
end
