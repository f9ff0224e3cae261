defmodule MQTT.Server.Connection.Time do
  @moduledoc false
  # How long the client may be silent. One timer, lazily: it looks when the last packet came, instead of being set anew by each.

  alias MQTT.Native
  alias MQTT.Server.Poller
  alias MQTT.Server.Connection.Actions

  # How much longer a silent TLS client is listened to, whose bytes may be on their way to us.
  @last_chance 100

  # When to look again, in milliseconds, while there is something to read.
  @unread 10

  @doc "Whether the client has been silent for too long. If not, a message comes when it will have been."
  @spec check_time(Actions.s()) :: Actions.step()
  def check_time(s) do
    _ = s.timer && Process.cancel_timer(s.timer)

    case Native.connection_check_time(s.connection) do
      :infinity ->
        {:noreply, %{s | timer: nil, last_chance: false}}

      # The owner was told, unless nobody was there to tell it.
      :unread ->
        send(self(), {:"$mqtt", :more})
        if s.io == :native, do: Poller.ensure_started()
        {:noreply, %{check_time_after(@unread, s) | last_chance: false}}

      {:close, _reason} when s.io != :native and not s.last_chance ->
        {:noreply, %{check_time_after(@last_chance, s) | last_chance: true}}

      {:close, reason} ->
        {:stop, {:shutdown, reason}, s}

      milliseconds ->
        {:noreply, %{check_time_after(milliseconds, s) | last_chance: false}}
    end
  end

  defp check_time_after(milliseconds, s) do
    %{s | timer: Process.send_after(self(), {:"$mqtt", :check_time}, milliseconds)}
  end
end
