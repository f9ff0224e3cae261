defmodule MQTT.Server.Ending do
  @moduledoc false
  # The end of many processes, each of which has something to do for it.

  @doc """
  Asks processes to end, by a function of each, and waits until they have; those that take longer than so many milliseconds are killed. The
  calling process ends itself, and takes the messages of those that it is linked to.
  """
  @spec all([pid], timeout, (pid -> term)) :: :ok
  def all(processes, timeout, ask) do
    monitors = for pid <- processes, into: %{}, do: {Process.monitor(pid), pid}
    Enum.each(processes, ask)
    _ = if timeout != :infinity, do: Process.send_after(self(), :too_long, timeout)
    wait(monitors)
  end

  defp wait(monitors) when monitors == %{}, do: :ok

  defp wait(monitors) do
    receive do
      {:DOWN, monitor, _, _, _} ->
        monitors |> Map.delete(monitor) |> wait()

      # Taken as well, so that each message is looked at once.
      {:EXIT, _, _} ->
        wait(monitors)

      :too_long ->
        Enum.each(monitors, fn {_, pid} -> Process.exit(pid, :kill) end)
        wait(monitors)
    end
  end
end
