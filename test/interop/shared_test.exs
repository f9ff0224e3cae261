defmodule MQTT.Interop.SharedTest do
  use ExUnit.Case, async: false
  @moduletag :clients

  import MQTT.Test.Brokers
  alias MQTT.Broker
  alias MQTT.Test.{Clients, Program}

  @members [:mosquitto, :paho, :mqttjs]

  test "clients of a group share messages of QoS 0 evenly" do
    {_, port} = broker()
    programs = for client <- @members, do: subscribe({client, "5", 0}, port, 100)
    assert publish({:paho, "3.1.1", 0}, port, 300) == []
    numbers = for program <- programs, [_, _, _, m | _] <- messages(program), do: m
    assert Enum.sort(numbers) == Enum.sort(for n <- 1..300, do: "message #{n}")
  end

  for qos <- 1..2 do
    @tag qos: qos
    test "each message of QoS #{qos} comes to one client of a group, in order", %{qos: qos} do
      {name, port} = broker()
      programs = for client <- @members, do: subscribe({client, "5", qos}, port, 0)
      assert publish({:mqttjs, "3.1.1", 2}, port, 300) == []
      received = collect(programs, 300)

      eventually(fn ->
        Enum.all?(Broker.clients(name), &match?(%{session: %{queued: 0, inflight: 0}}, &1))
      end)

      for program <- programs, do: assert(program |> Program.kill() |> Clients.messages() == [])
      numbers = for messages <- received, do: for([_, _, _, m | _] <- messages, do: number(m))
      assert numbers |> List.flatten() |> Enum.sort() == Enum.to_list(1..300)

      for numbers <- numbers do
        # The first three go to one each.
        assert hd(numbers) in 1..3
        assert Enum.sort(numbers) == numbers
      end
    end
  end

  test "clients of other groups, and those of none, get all" do
    {_, port} = broker()
    filters = ["$share/a/shared/+", "$share/b/shared/+", "shared/a"]

    programs =
      for {client, filter} <- Enum.zip(@members, filters),
          do: subscribe({client, "5", 1}, port, 50, filter)

    assert publish({:mosquitto, "5", 1}, port, 50) == []

    for program <- programs do
      numbers = for [_, _, _, m | _] <- messages(program), do: number(m)
      assert numbers == Enum.to_list(1..50)
    end
  end

  defp subscribe(client, port, count, filter \\ "$share/group/shared/+") do
    command = Clients.subscribe(client, port, filter, count)
    {program, _} = Program.start(command, ~r/^(Subscribed)/)
    program
  end

  defp publish(client, port, count) do
    client |> Clients.publish(port, "shared/a", count) |> Program.open() |> Program.lines()
  end

  # The messages of each program, until there are so many together.
  defp collect(programs, count) do
    found = collect_lines(Map.new(programs, &{&1.port, []}), count)
    for {_, lines} <- found, do: lines |> Enum.reverse() |> Clients.messages()
  end

  defp collect_lines(found, 0), do: found

  defp collect_lines(found, count) do
    receive do
      {port, {:data, {:eol, line}}} when is_map_key(found, port) ->
        count = if line =~ "\t", do: count - 1, else: count
        collect_lines(Map.update!(found, port, &[line | &1]), count)
    after
      20_000 -> flunk("#{count} messages more were expected: #{inspect(found)}")
    end
  end

  defp messages(program), do: program |> Program.lines() |> Clients.messages()
  defp number("message " <> number), do: String.to_integer(number)
end
