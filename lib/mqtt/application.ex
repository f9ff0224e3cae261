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

  defp writers do
    # The native side has room for so many.
    count = min(System.schedulers_online(), 64)

    for number <- 0..(count - 1) do
      Supervisor.child_spec({MQTT.Server.Writer, {number, count}},
        id: {MQTT.Server.Writer, number}
      )
    end
  end
end
