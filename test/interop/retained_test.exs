defmodule MQTT.Interop.RetainedTest do
  use ExUnit.Case, async: false
  @moduletag :clients

  import MQTT.Test.Brokers
  alias MQTT.Broker
  alias MQTT.Test.{Clients, Program}

  test "what a client retains each client gets, until it is removed" do
    {name, port} = broker()

    published =
      for {{client, version}, number} <- Enum.with_index(Clients.all()) do
        from = {client, version, rem(number, 3)}
        topic = "kept/#{number}"
        command = Clients.publish(from, port, topic, 2, retain: true)
        assert Program.lines(Program.open(command)) == []
        # Of QoS 0 it may still be on the way.
        eventually(fn ->
          match?([%{payload: "message 2"}], Enum.to_list(Broker.retained(name, topic)))
        end)

        {from, topic}
      end

    for {to, lines} <- subscribe_all(port, length(published)) do
      expected =
        for {from, topic} <- published do
          [topic, qos, "0" | rest] = Clients.expected(from, to, topic, 2)
          [topic, qos, "1" | rest]
        end

      assert Enum.sort(Clients.messages(lines)) == expected
    end

    for {_, topic} <- published do
      arguments = ~w(-h 127.0.0.1 -p #{port} -t #{topic} -r -n)
      assert {"", 0} = System.cmd("mosquitto_pub", arguments)
    end

    eventually(fn -> Broker.stats(name).retained == 0 end)

    # Then the first message is one that is published later.
    lines =
      subscribe_all(port, 1, fn -> Broker.publish(name, "kept/0", "live", %{retain: true}) end)

    for {_, lines} <- lines,
        do: assert([["kept/0", "0", "0", "live" | _]] = Clients.messages(lines))
  end

  test "what has expired nobody gets, and what has not has less time left" do
    {name, port} = broker()

    for {client, number} <- Enum.with_index([:mosquitto, :paho, :mqttjs]),
        {topic, expiry} <- [{"short/#{number}", 1}, {"long/#{number}", 3_600}] do
      command = Clients.publish({client, "5", 1}, port, topic, 1, retain: true, expiry: expiry)
      assert Program.lines(Program.open(command)) == []
    end

    eventually(fn -> Broker.stats(name).retained == 3 end)

    for {{_, version, _}, lines} <- subscribe_all(port, 3) do
      messages = Clients.messages(lines)
      topics = for [topic | _] <- messages, do: topic
      assert Enum.sort(topics) == ["long/0", "long/1", "long/2"]

      if version == "5",
        do: for([_, _, _, _, left | _] <- messages, do: assert(left == 3_600))
    end
  end

  # Each client subscribes to everything, and ends when it has so many messages.
  defp subscribe_all(port, count, subscribed \\ fn -> :ok end) do
    programs =
      for {client, version} <- Clients.all() do
        to = {client, version, 2}
        {to, Program.open(Clients.subscribe(to, port, "+/+", count))}
      end

    for {_, program} <- programs, do: Program.await(program, ~r/^(Subscribed)/)
    subscribed.()
    for {to, program} <- programs, do: {to, Program.lines(program)}
  end
end
