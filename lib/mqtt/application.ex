defmodule MQTT.Application do
  @moduledoc false
  # Nothing but this runs until somebody starts a listener or a connection.

  use Application

  @impl true
  def start(_type, _args) do
    # Threads and resources point into the library, so its module must not be purged.
    :code.stick_mod(MQTT.Native)

    :ok = MQTT.Server.Will.Guard.new_table()

    children = [MQTT.Server.Poller, MQTT.Server.Will, MQTT.Server.Will.Guard | writers()]
    Supervisor.start_link(children, strategy: :one_for_one, name: MQTT.Supervisor)
  end

  # Connections of others may live on. They are told of what comes by a poller of their own then, and write themselves.
  @impl true
  def stop(_state) do
    for number <- 0..(writer_count() - 1), do: MQTT.Native.writer_leave(number)
    if MQTT.Native.counters_read().connections > 0, do: MQTT.Server.Poller.ensure_started()
  end

  # The native side has room for so many.
  defp writer_count, do: min(System.schedulers_online(), 64)

  defp writers do
    count = writer_count()

    for number <- 0..(count - 1) do
      Supervisor.child_spec({MQTT.Server.Writer, {number, count}},
        id: {MQTT.Server.Writer, number}
      )
    end
  end
end
