defmodule MQTT.ReadmeTest do
  # What the README says is done here.
  use ExUnit.Case, async: false
  import MQTT.Test.Wire, only: [free_port: 0]

  @root Path.expand("..", __DIR__)
  @readme File.read!(Path.join(@root, "README.md"))

  defp blocks(language) do
    for [_, block] <- Regex.scan(~r/```#{language}\n(.*?)```/s, @readme), do: block
  end

  @tag :clients
  test "the server of one's own runs, and its command publishes to it" do
    assert [dependency, _broker, server] = blocks("elixir")
    assert {:ok, _} = Code.string_to_quoted(dependency)

    port = free_port()
    code = String.replace(server, "1883", "#{port}")
    # Linked to the test, so it ends with it.
    {_, _} = Code.eval_string(code)

    command = Enum.find(blocks("sh"), &(&1 =~ "temperature"))
    assert {"21.5\n", 0} = System.cmd("sh", ["-c", String.replace(command, "1883", "#{port}")])
    wrong = String.replace(command, "secret", "guess") |> String.replace("1883", "#{port}")
    assert {refused, status} = System.cmd("sh", ["-c", wrong], stderr_to_stdout: true)
    assert status != 0
    assert refused =~ ~r/bad user name or password/i
  end

  test "the broker in an application runs" do
    assert [_, broker, _] = blocks("elixir")
    assert {{:ok, _, 0}, _} = Code.eval_string(String.replace(broker, "1883", "0"))
  end

  test "every file and script that it names exists" do
    named = Regex.scan(~r/`((?:script|native|lib|test|examples)\/[\w\/.]*)`/, @readme)
    links = Regex.scan(~r/\]\(([\w\/.]+)\)/, @readme)
    assert length(named) > 5

    for [_, path] <- named ++ links do
      assert File.exists?(Path.join(@root, path)), "#{path} does not exist"
    end
  end

  test "its tables of options are those of the code" do
    tables = [
      MQTT.Options.docs(MQTT.Listener.Options.schema()),
      MQTT.Options.docs(MQTT.Server.Options.schema())
    ]

    for table <- tables, do: assert(@readme =~ table)
  end

  test "the example is as short as it says" do
    lines = @root |> Path.join("examples/pubsub.exs") |> File.stream!() |> Enum.count()
    assert @readme =~ "#{lines} lines"
    assert lines < 60
  end
end
