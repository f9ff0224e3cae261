defmodule MQTT.Test.Reports do
  @moduledoc false
  # The error reports that processes cause, as messages to the test.

  @doc "Sends `{:report, pid, label}` to the caller for each log event of level error or worse."
  def subscribe do
    id = :"reports_#{System.unique_integer([:positive])}"
    :ok = :logger.add_handler(id, __MODULE__, %{level: :error, config: %{test: self()}})
    ExUnit.Callbacks.on_exit(fn -> :logger.remove_handler(id) end)
  end

  @doc false
  def log(%{meta: %{pid: pid} = meta, msg: msg}, %{config: %{test: test}}) do
    # Not the event itself, whose state refers to the connection.
    send(test, {:report, pid, label(msg, meta)})
  end

  defp label({:report, %{label: label}}, _meta), do: label
  # Current Elixir has translated it to text already.
  defp label(_msg, %{crash_reason: _}), do: {:gen_server, :terminate}
  defp label(_msg, _meta), do: :other
end
