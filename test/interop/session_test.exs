defmodule MQTT.Interop.SessionTest do
  use ExUnit.Case, async: false
  @moduletag :clients

  import MQTT.Test.Brokers
  alias MQTT.Broker
  alias MQTT.Test.{Clients, Program}

  @queued 200
  @live 100
  @publisher {:mosquitto, "5", 2}

  for qos <- 1..2 do
    @tag qos: qos
    test "what came at QoS #{qos} while a client was away it gets once and in order", context do
      {name, port} = broker()
      clients = for {client, version} <- Clients.all(), do: {client, version, context.qos}

      leave_sessions(clients, name, port)
      publish(port, @queued)
      programs = subscribe_all(clients, port, @queued + @live)
      # What waits for them may come before SUBACK.
      for {_, id, _} <- programs,
          do: eventually(fn -> match?(%{connected: true}, Broker.info(name, id)) end)

      publish(port, @live)

      for {to, id, program} <- programs do
        received = ended(program, name, id)
        numbers = Enum.concat(1..@queued, 1..@live)
        expected = for n <- numbers, do: Clients.expected(@publisher, to, "session/a", n)
        assert Enum.find(Enum.zip(received, expected), fn {got, want} -> got != want end) == nil
        assert length(received) == @queued + @live
        assert Broker.info(name, id).session.queued == 0
      end
    end
  end

  test "what expires while a client is away it does not get" do
    {name, port} = broker()
    clients = for {client, version} <- Clients.all(), do: {client, version, 1}
    leave_sessions(clients, name, port)

    # When the one that is retained has expired, so have the others, which came before it.
    publish(port, 10, expiry: 1)
    publish(port, 1, expiry: 3_600)
    publish(port, 1, expiry: 1, retain: true)
    eventually(fn -> Enum.to_list(Broker.retained(name, "#")) == [] end)

    for {to, id, program} <- subscribe_all(clients, port, 1) do
      expected = [Clients.expected(@publisher, to, "session/a", 1)]
      assert ended(program, name, id) == expected
    end
  end

  test "a client whose session is taken over is told so, in MQTT 5.0" do
    {name, port} = broker()

    for {client, version} <- Clients.all() do
      command = Clients.subscribe({client, version, 1}, port, "session/+", 0, id: "one")
      {program, _} = Program.start(command, ~r/^(Subscribed)/)
      first = Broker.info(name, "one").pid
      other = ~w(-h 127.0.0.1 -p #{port} -V mqttv5 -i one -t other -m x -q 1)
      assert {"", 0} = System.cmd("mosquitto_pub", other)
      refute Process.alive?(first)

      case {client, version} do
        {_, "5"} -> assert Program.await(program, ~r/DISCONNECT.*(142)/) == "142"
        {:mosquitto, _} -> :ok
        {_, _} -> assert Program.await(program, ~r/(DISCONNECT)/) == "DISCONNECT"
      end

      # It comes back unless it was told.
      if {client, version} == {:mosquitto, "3.1.1"},
        do: Program.kill(program),
        else: Program.lines(program)

      gone(name, "one")
    end
  end

  # Each client subscribes, and ends with the first message.
  defp leave_sessions(clients, name, port) do
    programs = subscribe_all(clients, port, 1)
    for {_, _, program} <- programs, do: Program.await(program, ~r/^(Subscribed)/)
    Broker.publish(name, "session/first", "x", %{qos: 1})
    for {_, id, program} <- programs, do: assert([_] = ended(program, name, id))
  end

  defp subscribe_all(clients, port, count) do
    for {to, number} <- Enum.with_index(clients) do
      id = "client #{number}"
      command = Clients.subscribe(to, port, "session/+", count, id: id, session: 600)
      {to, id, Program.open(command)}
    end
  end

  # The messages of a client that has ended, and of which the broker knows that.
  defp ended(program, name, id) do
    lines = Program.lines(program)
    gone(name, id)
    Clients.messages(lines)
  end

  defp publish(port, count, options \\ []) do
    command = Clients.publish(@publisher, port, "session/a", count, options)
    assert Program.lines(Program.open(command)) == []
  end
end
