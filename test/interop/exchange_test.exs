defmodule MQTT.Interop.ExchangeTest do
  # Each client publishes, and each one has subscribed to all of it.
  use ExUnit.Case, async: false
  @moduletag :clients
  @moduletag timeout: 120_000

  import MQTT.Test.Brokers
  alias MQTT.Broker
  alias MQTT.Test.{Clients, Program}

  @count 1_000

  # So many bytes that none of QoS 0 are dropped.
  @room [max_queue_bytes: 67_108_864]

  for qos <- 0..2 do
    @tag qos: qos
    test "#{@count} messages of QoS #{qos} come in order from each client to each", %{qos: qos} do
      {_, port} = broker(@room)
      publishers = for {client, version} <- Clients.all(), do: {client, version, qos}
      total = @count * length(publishers)

      subscribers =
        for to <- publishers, do: {to, Clients.subscribe(to, port, "exchange/+", total)}

      subscribers = subscribed(subscribers)

      programs =
        for {from, number} <- Enum.with_index(publishers) do
          topic = "exchange/#{number}"
          {from, topic, Program.open(Clients.publish(from, port, topic, @count))}
        end

      for {_, _, program} <- programs, do: assert(Program.lines(program) == [])

      for {to, task} <- subscribers do
        received = task |> Task.await(60_000) |> Clients.messages() |> Enum.group_by(&hd/1)
        for {from, topic, _} <- programs, do: assert_all(received[topic], from, to, topic)
      end
    end
  end

  test "messages come with the lower QoS of both, from each client to each" do
    {_, port} = broker()
    low = for {client, version} <- Clients.all(), do: {client, version, 1}
    total = length(low)
    subscribers = for to <- low, do: {to, Clients.subscribe(to, port, "exchange/+", total)}
    subscribers = subscribed(subscribers)

    topics =
      for {{client, version, _}, number} <- Enum.with_index(low) do
        # 2, 0, 2, …
        from = {client, version, 2 - 2 * rem(number, 2)}
        topic = "exchange/#{number}"
        assert from |> Clients.publish(port, topic, 1) |> Program.open() |> Program.lines() == []
        {from, topic}
      end

    for {to, task} <- subscribers do
      expected = for {from, topic} <- topics, do: Clients.expected(from, to, topic, 1)
      assert task |> Task.await(60_000) |> Clients.messages() == expected
    end
  end

  # mosquitto_sub 2.0.11 takes a message of QoS 2 that is sent again for another one.
  for publisher <- [{:paho, "5", 2}, {:mqttjs, "3.1.1", 2}] do
    @tag publisher: publisher
    test "QoS 2 is once and in order although connections break, from #{inspect(publisher)}",
         %{publisher: from} do
      {name, port} = broker()

      subscribers =
        for {client, version} <- Clients.all(), client != :mosquitto do
          to = {client, version, 2}
          options = [id: "to #{inspect(to)}", session: 60, reconnect: true]
          command = Clients.subscribe(to, port, "exchange/a", @count + 1, options)
          {program, _} = Program.start(command, ~r/^(Subscribed)/)
          {to, program}
        end

      options = [id: "from", session: 60, reconnect: true]
      publisher = Program.open(Clients.publish(from, port, "exchange/a", @count, options))

      # Each time that this one is a bit further.
      {_, watched} = List.last(subscribers)

      early =
        for _ <- 1..4 do
          lines = for _ <- 1..200, do: Program.await(watched, ~r/^(.*\t.*)$/)
          for %{connected: true, pid: pid} <- Broker.clients(name), do: Process.exit(pid, :kill)
          lines
        end

      assert Program.lines(publisher) == []
      # No subscriber ends before.
      Broker.publish(name, "exchange/a", "last", %{qos: 2})

      for {to, program} <- subscribers do
        lines = Program.lines(program)
        lines = if program == watched, do: List.flatten(early) ++ lines, else: lines
        {last, received} = lines |> Clients.messages() |> List.pop_at(-1)
        assert ["exchange/a", "2", "0", "last" | _] = last
        assert_all(received, from, to, "exchange/a")
      end
    end
  end

  # Runs the programs, each with a process that reads its lines, until all have subscribed.
  defp subscribed(commands) do
    test = self()

    tasks =
      for {client, command} <- commands do
        task =
          Task.async(fn ->
            {program, _} = Program.start(command, ~r/^(Subscribed)/, 30_000)
            send(test, {:subscribed, client})
            Program.lines(program)
          end)

        {client, task}
      end

    for {client, _} <- tasks, do: assert_receive({:subscribed, ^client}, 30_000)
    tasks
  end

  defp assert_all(received, from, to, topic) do
    expected = for n <- 1..@count, do: Clients.expected(from, to, topic, n)
    # Only where they begin to differ.
    assert Enum.find(Enum.zip(received, expected), fn {got, wanted} -> got != wanted end) == nil
    assert length(received) == @count
  end
end
