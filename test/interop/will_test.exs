defmodule MQTT.Interop.WillTest do
  use ExUnit.Case, async: false
  @moduletag :clients

  import MQTT.Test.Brokers
  alias MQTT.Broker
  alias MQTT.Test.{Clients, Program}

  setup do
    {name, port} = broker()
    command = Clients.subscribe({:mosquitto, "5", 1}, port, "will/+", 0)
    {watcher, _} = Program.start(command, ~r/^(Subscribed)/)
    %{name: name, port: port, watcher: watcher}
  end

  test "is published when a client is killed", %{port: port, watcher: watcher} do
    for {number, program} <- start_all(port) do
      _ = Program.kill(program)
      assert ["will/" <> ^number, "1", "0", "gone" | _] = message(watcher)
    end
  end

  test "is not published when a client disconnects", context do
    %{name: name, port: port, watcher: watcher} = context

    for {number, program} <- start_all(port) do
      Broker.publish(name, "end/#{number}", "x")
      _ = Program.lines(program)
      gone(name, number)
    end

    Broker.publish(name, "will/none", "of them")
    assert ["will/none", "0", "0", "of them" | _] = message(watcher)
  end

  # Clients with a will, each of which ends with a message to its topic.
  defp start_all(port) do
    programs =
      for {{client, version}, number} <- Enum.with_index(Clients.all()) do
        options = [id: "#{number}", will: "will/#{number}"]
        command = Clients.subscribe({client, version, 0}, port, "end/#{number}", 1, options)
        {"#{number}", Program.open(command)}
      end

    for {_, program} <- programs, do: Program.await(program, ~r/^(Subscribed)/)
    programs
  end

  defp message(program), do: program |> Program.await(~r/^(.*\t.*)$/) |> Clients.read()
end
