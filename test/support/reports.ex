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
  def log(%{meta: %{pid: pid}, msg: msg}, %{config: %{test: test}}) do
    # Not the event itself, whose state refers to the connection.
    label = with {:report, %{label: label}} <- msg, do: label
    send(test, {:report, pid, if(is_tuple(label), do: label, else: :other)})
  end
end
