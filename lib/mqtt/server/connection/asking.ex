defmodule MQTT.Server.Connection.Asking do
  @moduledoc false
  # The messages of a session that wait for handle_delivery/4, and those that handle_dropped/5 is told of.

  import MQTT.Server.Connection.Actions

  alias MQTT.Native
  alias MQTT.Server.{Deliveries, Events, Writer}
  alias MQTT.Server.Connection.Actions

  @doc "Asks about some of what waits. Then others have their turn."
  @spec ask(Actions.s()) :: Actions.step()
  def ask(%{asks: false} = s), do: {:noreply, s}

  def ask(s) do
    case Native.connection_offer(s.connection) do
      {[], []} ->
        {:noreply, s}

      {offered, dropped} ->
        send(self(), {:"$mqtt", :session})
        dropped |> each(s, &dropped/2) |> and_then(&decide_on(offered, &1))
    end
  end

  defp decide_on([], s), do: {:noreply, s}

  defp decide_on(offered, s) do
    result = Deliveries.decide(offered, s.handler, s.state, s.refs)
    Writer.release()

    case result do
      {:ok, decisions, state, refs} ->
        write([{:decided, decisions}], %{s | state: state, refs: refs})

      # What it said before is done.
      {:stop, reason, decisions, state, refs} ->
        s = write([{:decided, decisions}], %{s | state: state, refs: refs}) |> state_of()
        {:stop, reason, s}
    end
  end

  defp dropped({{topic, message, opts}, reason}, s) do
    if :handle_dropped in s.handler.optional do
      s.module
      |> Events.call(:handle_dropped, [topic, message, opts, reason, s.state])
      |> returned(s)
    else
      {:noreply, s}
    end
  end
end
