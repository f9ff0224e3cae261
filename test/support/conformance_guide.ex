defmodule MQTT.Test.ConformanceGuide do
  @moduledoc false
  # A formatter of ExUnit that writes guides/conformance.md from the tests that ran, to the file that
  # MQTT_CONFORMANCE names. It writes nothing when a statement has neither a test nor a reason.

  use GenServer

  alias MQTT.Test.Conformance

  @reasons Path.expand("../conformance/reasons.exs", __DIR__)

  @impl true
  def init(_options), do: {:ok, []}

  @impl true
  def handle_cast({:test_finished, %{tags: %{conformance: {version, ids, shown}}} = test}, rows) do
    row = %{file: Path.basename(test.tags.file), line: test.tags.line, shown: shown}
    row = Map.merge(row, %{version: version, ids: ids, result: result(test.state)})
    {:noreply, [row | rows]}
  end

  def handle_cast({:suite_finished, _}, rows) do
    with path when is_binary(path) <- System.get_env("MQTT_CONFORMANCE"), do: write(path, rows)
    {:noreply, rows}
  end

  def handle_cast(_event, rows), do: {:noreply, rows}

  defp result(nil), do: "passes"
  defp result({:excluded, _}), do: "pending"
  defp result({:skipped, _}), do: "pending"
  defp result(_failed_or_invalid), do: "**fails**"

  defp write(path, rows) do
    reasons = reasons()
    _ = File.rm(path)

    case Enum.flat_map(Conformance.versions(), &unsound(&1, rows, reasons)) do
      [] -> File.write!(path, guide(rows, reasons))
      errors -> IO.puts(:stderr, ["\n" | errors])
    end
  end

  # The reason by version and number.
  defp reasons do
    {reasons, _} = Code.eval_file(@reasons)

    for {version, groups} <- reasons, {reason, ids} <- groups, id <- ids, into: %{} do
      {{version, Conformance.known!(id, version)}, reason}
    end
  end

  defp unsound(version, rows, reasons) do
    ids = for {id, _} <- Conformance.statements(version), do: id
    {tested, untested} = Enum.split_with(ids, &(tests(rows, version, &1) != []))

    for {what, [_ | _] = ids} <- [
          {"neither a test nor a reason", Enum.reject(untested, &reasons[{version, &1}])},
          {"a test and a reason not to", Enum.filter(tested, &reasons[{version, &1}])}
        ] do
      "MQTT #{version}, #{what}: #{Enum.join(ids, " ")}\n"
    end
  end

  defp tests(rows, version, id) do
    rows
    |> Enum.filter(&(&1.version == version and id in &1.ids))
    |> Enum.sort_by(&{&1.file, &1.line})
  end

  defp guide(rows, reasons) do
    [
      """
      # Conformance

      The normative statements of MQTT 3.1.1 and 5.0, and what shows that this library keeps them. This page is
      written by `script/conformance` from the tests in `test/conformance`, whose names have the numbers, and from
      `reasons.exs` there.

      The tests write and read bytes, at a `MQTT.Listener` with a handler that is a small broker
      (`test/support/conformance_broker.ex`). What a statement demands of subscriptions and retained messages is the handler's to do;
      there the tests show that it can be done with the callbacks. The texts are short forms of those of the
      standards. In brackets is whom a statement binds if that is not a server alone; what it forbids the
      client is tested by breaking it.
      """,
      for(version <- Conformance.versions(), do: version(version, rows, reasons))
    ]
  end

  defp version(version, rows, reasons) do
    statements = Conformance.statements(version)
    explained = Enum.count(statements, fn {id, _} -> reasons[{version, id}] end)

    [
      "\n## MQTT #{version}\n\n",
      "#{length(statements)} statements: #{length(statements) - explained} have tests, ",
      "#{explained} a reason why not.\n\n",
      "| Number | Statement | Test, or why there is none | Result |\n",
      "| --- | --- | --- | --- |\n",
      for {id, statement} <- statements do
        {shown, result} = shown(tests(rows, version, id), reasons[{version, id}])
        "| #{id} | #{cell(text(statement))} | #{shown} | #{result} |\n"
      end
    ]
  end

  defp text(%{binds: "server", text: text}), do: text
  defp text(%{binds: binds, text: text}), do: "#{text} (#{binds})"

  defp shown([], reason), do: {"_#{cell(reason)}_", "none"}

  defp shown(tests, nil) do
    {Enum.map_join(tests, "<br>", &cell(&1.shown)), Enum.map_join(tests, "<br>", & &1.result)}
  end

  # What Markdown would take for its own.
  defp cell(text), do: String.replace(text, ~r/[|*_<>\[\]\\]/, "\\\\\\0")
end
