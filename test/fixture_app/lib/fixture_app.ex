defmodule FixtureApp do
  # An application that has the library as a dependency, as a user's would.
  use Application

  defmodule Echo do
    use MQTT.Server

    @impl true
    def init(_args, _params), do: {:ok, nil}

    @impl true
    def handle_publish(topic, message, _opts, state) do
      {:ok, state, {:publish, topic, message}}
    end
  end

  @impl true
  def start(_type, _args) do
    listener = {MQTT.Listener, ip: {127, 0, 0, 1}, port: 0, handler: {Echo, []}, name: Listener}
    {:ok, supervisor} = Supervisor.start_link([listener], strategy: :one_for_one)
    IO.puts("listening on #{MQTT.Listener.info(Listener).port}")
    {:ok, supervisor}
  end
end
