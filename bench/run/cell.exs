defmodule Bench.Cell do
  @moduledoc false
  # Measures one workload on one server once.

  alias Bench.Servers

  # So much of a core may be busy with something else.
  @disturbed 0.15

  @doc "Whether something else was at work meanwhile."
  def disturbed?(cell), do: cell["others"] > @disturbed

  @doc """
  What was measured, or `:failed`. It is measured again, up to `options.tries` times, if something else was
  at work on the machine.
  """
  def measure(server, workload, setup, options),
    do: measure(server, workload, setup, options, options.tries)

  defp measure(server, {_, load, workload} = row, setup, options, tries) do
    running = Servers.start(server, setup.directory, setup.modules, workload)

    cell =
      try do
        load(running, load ++ quick(workload, options), setup, options)
      after
        Servers.stop(running)
      end

    if tries > 1 and is_map(cell) and disturbed?(cell) do
      IO.puts(
        :stderr,
        "Something else took #{Float.round(cell["others"], 2)} of a core; once again."
      )

      measure(server, row, setup, options, tries - 1)
    else
      cell
    end
  end

  defp quick(workload, %{quick: true}) do
    case Keyword.get(workload, :quick, []) do
      :never -> []
      arguments -> arguments
    end
  end

  defp quick(_workload, _options), do: []

  defp load(running, load, setup, options) do
    interval = ["--seconds", "#{options.seconds}", "--warm-up", "#{options.warm_up}"]
    server = ["--port", "#{running.port}", "--pid", "#{running.pid}"]

    case System.cmd(setup.load, server ++ running.flags ++ interval ++ load) do
      {output, 0} -> parse(output)
      {_, _} -> :failed
    end
  end

  defp parse(output) do
    values =
      for pair <- String.split(output), into: %{} do
        [name, value] = String.split(pair, "=")
        {number, ""} = Float.parse(value)
        {name, number}
      end

    Map.merge(values, %{
      "cores" => values["cpu_seconds"] / values["seconds"],
      "load" => values["load_cpu_seconds"] / values["seconds"],
      "rate" => values["messages"] / values["seconds"],
      "others" => values["others_cpu_seconds"] / values["seconds"],
      "cost" => values["cpu_seconds"] / values["messages"] * 1.0e6
    })
  end
end
