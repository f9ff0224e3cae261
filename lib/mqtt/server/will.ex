defmodule MQTT.Server.Will do
  @moduledoc false
  # A will that the library publishes, by calling handle_publish/4 with it.
  #
  # MQTT 5.0 has it wait for the Will Delay Interval, or for the end of the session if that comes first,
  # and forgotten when the client comes back to its session before [MQTT-3.1.3-9]. That is a process
  # of its own, because the connection's ends.

  alias MQTT.{Native, Session}

  @enforce_keys [:topic, :message, :opts, :delay]
  defstruct @enforce_keys

  # delay: seconds
  @type t :: %__MODULE__{
          topic: String.t(),
          message: binary,
          opts: map,
          delay: non_neg_integer
        }

  @supervisor __MODULE__.Supervisor

  @doc "The process that starts those of wills."
  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_), do: Supervisor.child_spec({Task.Supervisor, name: @supervisor}, [])

  @doc "The will of `params.last_will`; none for none."
  @spec new(map | nil) :: t | nil
  def new(nil), do: nil

  def new(last_will) do
    {delay, properties} = Map.pop(last_will[:properties] || %{}, :will_delay_interval, 0)
    opts = %{qos: last_will.qos, retain: last_will.retain, dup: false}

    %__MODULE__{
      topic: last_will.topic,
      message: last_will.message,
      opts: if(last_will[:properties], do: Map.put(opts, :properties, properties), else: opts),
      delay: delay
    }
  end

  @doc """
  Publishes the will of a connection that ends for `reason`, now or later. Gives the state that the
  callback left if it was called now.
  """
  @spec publish(t, reason :: term, module, state) :: state when state: term
  def publish(will, reason, module, state) do
    session = Session.current()

    case reason do
      {:shutdown, {:session_taken_over, false}} when will.delay > 0 ->
        state

      {:shutdown, {:session_taken_over, _clean}} ->
        publish_now(will, module, state)

      _ ->
        case seconds(will.delay, session) do
          0 -> publish_now(will, module, state)
          seconds -> publish_later(will, seconds, session, module, state)
        end
    end
  end

  defp seconds(_delay, nil), do: 0
  defp seconds(delay, session), do: min(delay, Session.info(session).expiry_interval)

  defp publish_now(will, module, state) do
    case module.handle_publish(will.topic, will.message, will.opts, state) do
      {:stop, _reason} -> state
      {:error, _reason, state} -> state
      {:error, _reason, state, _actions} -> state
      result -> elem(result, 1)
    end
  end

  # The connection still has the session, so that nobody can come back unnoticed.
  defp publish_later(will, seconds, session, module, state) do
    connection = self()

    {:ok, task} =
      Task.Supervisor.start_child(@supervisor, fn ->
        :ok = Native.session_await(session)
        send(connection, {:"$mqtt", {:awaiting, self()}})

        receive do
          {:"$mqtt", {:session_taken_over, false}} -> :ok
          {:"$mqtt", {:session_taken_over, true}} -> publish_now(will, module, state)
        after
          seconds * 1_000 -> publish_now(will, module, state)
        end
      end)

    receive do: ({:"$mqtt", {:awaiting, ^task}} -> state)
  end
end
