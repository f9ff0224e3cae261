#!/usr/bin/env elixir
# Measures what a packet costs in `:mqtt_packet` and in `MQTT.Packet`, beside `:mqtt_packet` of 0.2.2,
# and what a call into the native part costs. Prints two tables, after about a minute.
#
#     MQTT_BASELINE=/directory/with/the/source/of/mqtt-0.2.2 bench/micro.exs [--rounds 15]
#
# Each has a virtual machine of its own, which runs timings.exs. They take turns, so that a machine that
# slows down slows all of them. The lowest of the rounds is printed: nothing here waits for anything, so
# what a round takes longer is due to something else on the machine.
#
# 0.2.2 does not check what it reads or writes: any bytes are a topic, and any topic can be published to.

defmodule Bench.Micro do
  @here __DIR__
  @root Path.expand("..", __DIR__)

  def main(arguments) do
    {options, []} = OptionParser.parse!(arguments, strict: [rounds: :integer])
    rounds = Keyword.get(options, :rounds, 15)
    temporary = Path.join(System.tmp_dir!(), "mqtt-micro-#{System.pid()}")
    File.mkdir_p!(temporary)

    try do
      ours = compile_ours()
      baseline = compile_baseline(temporary)
      IO.puts("OTP #{System.otp_release()}, Elixir #{System.version()}, #{rounds} rounds.\n")
      print_packets(rounds([{baseline, "records"}, {ours, "records"}, {ours, "maps"}], rounds))
      print_calls(rounds([{ours, "calls"}], rounds))
    after
      File.rm_rf!(temporary)
    end
  end

  ## Building, as run.exs does

  defp compile_ours do
    build = System.get_env("MIX_BUILD_PATH", Path.join(@root, "_build/prod"))
    run!("mix", ["compile"], cd: @root, env: [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", build}])
    Path.join(build, "lib/mqtt/ebin")
  end

  defp compile_baseline(directory) do
    script = ~s(exec elixir "$0" "$1" </dev/null)
    output = run!("sh", ["-c", script, Path.join(@here, "baseline.exs"), directory], [])
    output |> String.split("\n", trim: true) |> List.last()
  end

  ## Measuring

  # The rows, each with its name and for each round the times of the machines.
  defp rounds(machines, count) do
    rounds = for _ <- 1..count, do: Enum.zip_with(Enum.map(machines, &timings/1), & &1)

    Enum.zip_with(rounds, fn [[{name, _} | _] | _] = row ->
      {name, Enum.map(row, &Enum.map(&1, fn {_name, time} -> time end))}
    end)
  end

  defp timings({modules, what}) do
    output = run!("elixir", ["-pa", modules, Path.join(@here, "timings.exs"), what], [])

    for line <- String.split(output, "\n", trim: true) do
      {time, " " <> name} = Float.parse(line)
      {name, time}
    end
  end

  ## Printing

  defp print_packets(rows) do
    IO.puts("""
    | ns | 0.2.2 | `:mqtt_packet` | against 0.2.2 | `MQTT.Packet` | against 0.2.2 |
    | --- | ---: | ---: | ---: | ---: | ---: |\
    """)

    for {name, rounds} <- rows do
      [baseline, records, maps] = Enum.zip_with(rounds, &Enum.min/1)
      against = &(:erlang.float_to_binary(&1 / baseline, decimals: 2) <> " ×")

      print_row([
        name,
        round(baseline),
        round(records),
        against.(records),
        round(maps),
        against.(maps)
      ])
    end
  end

  defp print_calls(rows) do
    IO.puts("\n| Call of `MQTT.Native` | ns |\n| --- | ---: |")
    for {name, rounds} <- rows, do: print_row([name, round(Enum.min(List.flatten(rounds)))])
  end

  defp print_row(columns), do: IO.puts("| #{Enum.join(columns, " | ")} |")

  ## Other programs

  defp run!(command, arguments, options) do
    case System.cmd(command, arguments, options) do
      {output, 0} ->
        output

      {output, _} ->
        IO.puts(:stderr, "#{output}#{command} failed.")
        System.halt(1)
    end
  end
end

Bench.Micro.main(System.argv())
