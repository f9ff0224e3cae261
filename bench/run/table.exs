defmodule Bench.Table do
  @moduledoc false
  # Prints what was measured, as Markdown.

  alias Bench.{Cell, Command}

  @mebibyte 1_048_576
  # From so many connections on, what one of them takes can be told.
  @many 500

  @doc "What was measured where, and the head of the table."
  def describe(servers, options) do
    IO.puts("""
    # Results

    Written by `#{Enum.join(["script/bench" | System.argv()], " ")}`; `README.md` says what the rows are. Server and \
    load generator share the cores of one machine, so only ratios within a workload mean something.

      * Machine: #{cores()} × #{processor()}, Linux #{first_line("/proc/sys/kernel/osrelease")}
      * Versions: #{Enum.join(versions(), ", ")}
      * Commit #{commit()}, #{Date.utc_today()}
      * Emulator flags: #{if Command.erl_flags() == "", do: "none", else: "`#{Command.erl_flags()}`"}, unless the \
    workload's name says otherwise
      * A cell: #{options.seconds} s after #{options.warm_up} s of warm-up, #{options.repeat} times; the median, \
    and for CPU the lowest and the highest

    Servers:
    """)

    for {_, name, _, _, settings} <- servers do
      IO.puts("  * `#{name}`: #{settings}")
    end

    IO.puts("""

    | Workload | Server | Messages/s | × first | CPU µs/message | × first | Cores, server + load | RSS MiB | Peak MiB | KiB/connection | Latency µs, p50 / p99 / p99.9 / max | Besides |
    | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\
    """)
  end

  @doc """
  The rows of a workload: `cells` has for each server's name what was measured in each round. `at_qos_0` is the same
  of the workload that compares.
  """
  def rows(_workload, [], _at_qos_0), do: :ok

  def rows(workload, [{_, first} | _] = cells, at_qos_0) do
    for {server, cell} <- cells, do: row([workload, server], cell, first, at_qos_0[server])
  end

  defp row(names, cell, first, at_qos_0) do
    columns = if :failed in cell, do: ["failed"], else: columns(cell, first, at_qos_0)
    columns = columns ++ List.duplicate("", 10 - length(columns))
    IO.puts("| #{Enum.join(names ++ columns, " | ")} |")
  end

  defp columns(cell, first, at_qos_0) do
    {lowest, highest} = cell |> Enum.map(& &1["cost"]) |> Enum.min_max()

    [
      rate(cell),
      ratio(cell, first, "rate"),
      "#{number(median(cell, "cost"))} (#{number(lowest)}–#{number(highest)})",
      ratio(cell, first, "cost"),
      "#{number(median(cell, "cores"))} + #{number(median(cell, "load"))}",
      mebibytes(cell, "resident"),
      mebibytes(cell, "peak"),
      per_connection(cell),
      latency(cell, ""),
      [disturbed(cell), besides(cell, at_qos_0)]
      |> Enum.reject(&(&1 in [nil, ""]))
      |> Enum.join("; ")
    ]
  end

  defp disturbed(cell) do
    count = Enum.count(cell, &Cell.disturbed?/1)
    if count > 0, do: "something else was at work in #{count} of #{length(cell)}"
  end

  defp rate([%{"target" => target} | _] = cell),
    do: "#{round(median(cell, "achieved"))} of #{round(target)}"

  defp rate(cell), do: round(median(cell, "rate"))

  defp ratio(cell, other, name) do
    if other && :failed not in other, do: "#{number(median(cell, name) / median(other, name))} ×"
  end

  defp mebibytes(cell, name), do: number(median(cell, name) / @mebibyte)

  defp per_connection([%{"connections" => connections} | _] = cell) when connections >= @many do
    cell
    |> Enum.map(&((Map.get(&1, "resident_idle", &1["resident"]) - &1["fresh"]) / connections))
    |> middle()
    |> then(&number(&1 / 1024))
  end

  defp per_connection(_cell), do: ""

  defp latency([%{} = values | _] = cell, prefix) do
    if values[prefix <> "p50"],
      do: Enum.map_join(~w(p50 p99 p999 max), " / ", &quantile(cell, &1, prefix <> &1))
  end

  # None where there are too few to say it. The highest is that of all rounds.
  defp quantile(cell, name, key) do
    case cell |> Enum.map(& &1[key]) |> Enum.reject(&is_nil/1) do
      [] -> "–"
      all -> round(if(name == "max", do: Enum.max(all), else: middle(all)) * 1.0e6)
    end
  end

  defp besides([%{"resident_early" => _} | _] = cell, _at_qos_0) do
    "RSS MiB #{mebibytes(cell, "resident_early")} early, #{mebibytes(cell, "resident_late")} at the end"
  end

  defp besides([%{"calm_p50" => _} | _] = cell, _at_qos_0),
    do: "without the flood #{latency(cell, "calm_")}"

  defp besides([%{"member_least" => _} | _] = cell, _at_qos_0) do
    "a member got #{round(median(cell, "member_least"))} to #{round(median(cell, "member_most"))} messages"
  end

  defp besides(_cell, nil), do: ""

  defp besides(cell, at_qos_0) do
    ratio = ratio(cell, at_qos_0, "cost")
    if ratio, do: "#{ratio} the CPU at QoS 0"
  end

  defp median(cell, name), do: cell |> Enum.map(& &1[name]) |> middle()

  defp middle(values) do
    {values, half} = {Enum.sort(values), length(values) / 2}
    (Enum.at(values, ceil(half) - 1) + Enum.at(values, floor(half))) / 2
  end

  # Three digits.
  defp number(value) when value >= 100, do: "#{round(value)}"
  defp number(value) when value >= 10, do: :erlang.float_to_binary(value, decimals: 1)
  defp number(value) when value >= 1, do: :erlang.float_to_binary(value, decimals: 2)
  defp number(value), do: :erlang.float_to_binary(value, decimals: 3)

  ## Where

  defp processor do
    [_, model] = Regex.run(~r/^model name\s*: (.*)$/m, File.read!("/proc/cpuinfo"))
    model
  end

  defp cores, do: System.schedulers_online()

  defp versions do
    [emulator(), version("rustc", ["--version"])] ++
      for {program, argument} <- [{"mosquitto", "-h"}, {"rumqttd", "--version"}],
          System.find_executable(program),
          do: version(program, [argument])
  end

  # That of the servers, which need not be ours.
  defp emulator do
    script = """
    release = System.otp_release()
    file = Path.join([:code.root_dir(), "releases", release, "OTP_VERSION"])
    otp = if File.exists?(file), do: file |> File.read!() |> String.trim(), else: release
    IO.puts("OTP \#{otp}, Elixir \#{System.version()}")
    """

    "elixir" |> Command.run!(["-e", script]) |> String.trim()
  end

  # A program may say it with any status.
  defp version(program, arguments) do
    {output, _} = System.cmd(program, arguments, stderr_to_stdout: true)
    output |> String.split("\n") |> hd()
  end

  defp commit do
    commit = Command.run!("git", ~w(rev-parse --short HEAD), cd: __DIR__)
    changes = Command.run!("git", ~w(status --porcelain -- :/ :!/bench/RESULTS.md), cd: __DIR__)
    String.trim(commit) <> if(changes == "", do: "", else: " with changes")
  end

  defp first_line(file), do: file |> File.read!() |> String.split("\n") |> hd()
end
