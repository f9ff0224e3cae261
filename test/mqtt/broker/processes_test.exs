defmodule MQTT.Broker.ProcessesTest do
  # Processes of this node that have subscribed.
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.{Broker, Message}
  alias MQTT.Broker.Context
  alias MQTT.Test.V5

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

      assert_raise ArgumentError, ~r/no topic filter/, fn ->
        name |> Broker.retained("a/#/b") |> Enum.to_list()
      end
    end

    test "gives a wrong argument, which raises, and what it has subscribed to goes on" do
      {name, _} = broker()
      :ok = Broker.subscribe(name, "still")

      for {filter, options, sentence} <- [
            {<<0xFF>>, %{}, ~r/must be a string/},
            {:t, %{}, ~r/must be a string/},
            {"t", %{no_local: nil}, ~r/^:no_local must be `true` or `false`, got: nil/},
            {"t", [subscription_identifier: 0], ~r/^:subscription_identifier must be an integer/}
          ] do
        assert_raise ArgumentError, sentence, fn -> Broker.subscribe(name, filter, options) end
      end

      refute Broker.unsubscribe(name, :t)
      Broker.publish(name, "still", "there")
      assert_receive {:mqtt, ^name, %{topic: "still"}}
    end

    test "gets the identifiers of its subscriptions, and nobody gets those of a publisher" do
      {name, port} = broker()

      publish = fn topic, retain ->
        properties = %{subscription_identifier: [3], content_type: "t"}
        Broker.publish(name, topic, "x", %{retain: retain, properties: properties})
      end

      publish.("a/retained", true)
      :ok = Broker.subscribe(name, "a/#", subscription_identifier: 7)
      :ok = Broker.subscribe(name, "a/+", subscription_identifier: 8)
      :ok = Broker.subscribe(name, "b")
      client = V5.connected(port, "client")
      V5.subscribed(client, [{"b", 0}])
      for topic <- ["a/live", "b"], do: publish.(topic, false)

      for {topic, retain, identifiers} <- [
            {"a/retained", true, [7]},
            {"a/retained", true, [8]},
            {"a/live", false, [7, 8]}
          ] do
        assert_receive {:mqtt, ^name, %{topic: ^topic, retain: ^retain, properties: properties}}
        assert %{content_type: "t", subscription_identifier: ids} = properties
        assert Enum.sort(ids) == identifiers
      end

      assert_receive {:mqtt, ^name, %{topic: "b", properties: %{content_type: "t"} = properties}}
      assert map_size(properties) == 1
      assert {:publish, 0x30, "b", nil, "x", [{0x03, "t"}]} = V5.recv_packet(client)
    end

    test "and the broker end together" do
      {name, _} = broker()
      :ok = Broker.subscribe(name, "a")
      monitor = Process.monitor(name)
      name |> Context.get!() |> Context.process!(:locals) |> Process.exit(:kill)
      assert_receive {:DOWN, ^monitor, _, _, _}
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

    test "that is full gets nothing that another member of its group can have" do
      {name, _} = broker(max_process_messages: 5)
      test = self()

      subscribe = fn then ->
        spawn_link(fn ->
          :ok = Broker.subscribe(name, "$share/g/t")
          send(test, :subscribed)
          then.()
        end)
      end

      full = subscribe.(fn -> receive do: (:stop -> :ok) end)
      assert_receive :subscribed
      publish = fn n -> assert {:ok, :success, 1} = Broker.publish(name, "t", n) end
      for _ <- 1..5, do: publish.("")
      eventually(fn -> Process.info(full, :message_queue_len) == {:message_queue_len, 5} end)
      # It has seen to the fifth.
      0 = Broker.dropped(name, full)
      subscribe.(fn -> read(test) end)
      assert_receive :subscribed

      for n <- 1..20 do
        publish.("#{n}")
        assert_receive {:read, ^n}
      end

      assert Broker.dropped(name, full) == 0
    end
  end

  defp read(test) do
    receive do: ({:mqtt, _, message} -> send(test, {:read, String.to_integer(message.payload)}))
    read(test)
  end
end
