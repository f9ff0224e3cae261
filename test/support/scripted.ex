defmodule MQTT.Test.Scripted do
  @moduledoc false
  # A handler with every callback there is. A test gives a map of functions for those that matter to
  # it; every call is told to the test as {callback, arguments without the state}.

  @behaviour MQTT.Server

  def with_functions(functions \\ %{}), do: {self(), functions}

  @impl true
  def init({test, functions} = args, params) do
    send(test, {:init, self(), params})

    case functions do
      %{init: init} -> init.(params, args)
      _ -> {:ok, args}
    end
  end

  @impl true
  def handle_publish(topic, message, opts, state),
    do: call(:handle_publish, [topic, message, opts], state, {:ok, state})

  @impl true
  def handle_subscribe(_topic, qos, state), do: {:ok, qos, state}

  @impl true
  def handle_subscribe(topic, qos, options, state),
    do: call(:handle_subscribe, [topic, qos, options], state, {:ok, qos, state})

  @impl true
  def handle_unsubscribe(_topic, state), do: {:ok, state}

  @impl true
  def handle_unsubscribe(topic, options, state),
    do: call(:handle_unsubscribe, [topic, options], state, {:ok, state})

  @impl true
  def handle_auth(reason, properties, state),
    do: call(:handle_auth, [reason, properties], state, {:error, :not_authorized, state})

  @impl true
  def handle_delivered(ref, result, state),
    do: call(:handle_delivered, [ref, result], state, {:ok, state})

  @impl true
  def handle_disconnect(reason, properties, state),
    do: call(:handle_disconnect, [reason, properties], state, {:ok, state})

  @impl true
  def handle_call({:act, actions}, from, state),
    do: {:ok, state, List.wrap(actions) ++ [{:reply, from, :acted}]}

  @impl true
  def handle_cast({:act, actions}, state), do: {:ok, state, actions}

  @impl true
  def handle_info(_message, state), do: {:ok, state}

  @impl true
  def terminate(reason, {test, _}), do: send(test, {:terminate, reason, MQTT.Session.current()})

  @impl true
  def code_change(_old_vsn, state, _extra), do: {:ok, state}

  defp call(callback, arguments, {test, functions} = state, default) do
    send(test, {callback, arguments})

    case functions do
      %{^callback => function} -> apply(function, arguments ++ [state])
      _ -> default
    end
  end
end
