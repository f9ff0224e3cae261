defmodule MQTT.Application do
  @moduledoc false
  # Nothing runs until somebody starts a listener or a connection.

  use Application

  @impl true
  def start(_type, _args) do
    # Threads and resources point into the library, so its module must not be purged.
    :code.stick_mod(MQTT.Native)
    Supervisor.start_link([MQTT.Server.Will], strategy: :one_for_one)
  end
end
